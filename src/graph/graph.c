/* Looking things up in a finished graph, and freeing it. */
#include "graph/graph.h"

#include <stdlib.h>
#include <string.h>

void qd_graph_destroy(qd_graph *graph)
{
    if (!graph)
        return;
    for (int i = 0; i < graph->node_count; i++)
        free(graph->nodes[i].config);
    free(graph->values);
    free(graph->nodes);
    free(graph->modules);
    free(graph->calls);
    free(graph->params);
    free(graph->buffers);
    free(graph);
}

int qd_graph_find_module(const qd_graph *graph, const char *path)
{
    for (int i = 0; i < graph->module_count; i++)
        if (strcmp(graph->modules[i].path, path) == 0)
            return i;
    return -1;
}

static int find_param(const qd_param *params, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(params[i].name, name) == 0)
            return i;
    return -1;
}

int qd_graph_find_param(const qd_graph *graph, const char *name)
{
    return find_param(graph->params, graph->param_count, name);
}

int qd_graph_find_buffer(const qd_graph *graph, const char *name)
{
    return find_param(graph->buffers, graph->buffer_count, name);
}

int qd_graph_find_node(const qd_graph *graph, const char *name)
{
    for (int i = 0; i < graph->node_count; i++)
        if (strcmp(graph->nodes[i].name, name) == 0)
            return i;
    return -1;
}
