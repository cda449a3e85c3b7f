/* Freeing, and the small questions a caller may ask. */
#include "report/answers.h"
#include <stdlib.h>

static void free_logs(report_log *logs, int count)
{
    for (int i = 0; i < count; i++)
        free(logs[i].modules);
    free(logs);
}

void qd_report_series_free(report_series *s)
{
    free(s->model);
    free(s->key);
    free(s->seed);
    free(s->prefixes);
    free(s->history);
    cJSON_Delete(s->configuration);
    free_logs(s->logs, s->log_count);
    free_logs(s->mixed_logs, s->mixed_log_count);
    for (int i = 0; i < s->quantized_count; i++)
        free(s->quantized[i].tensors);
    free(s->quantized);
    free(s->qat);
}

void qd_report_sensitivity_free(report_sensitivity *s)
{
    free(s->model);
    free(s->key);
    free(s->modes);
    free(s->layers);
    free(s->kept);
}

void qd_report_analysis_free(report_analysis *a)
{
    free(a->model);
    free(a->key);
    cJSON_Delete(a->json);
}

static void free_texts(char **texts, int count)
{
    for (int i = 0; i < count; i++)
        free(texts[i]);
}

void qd_report_destroy(qd_report *report)
{
    if (!report)
        return;
    for (int i = 0; i < report->file_count; i++) {
        free(report->files[i].path);
        free(report->files[i].reason);
    }
    for (int i = 0; i < report->run_count; i++) {
        free(report->runs[i].folder);
        free(report->runs[i].name);
        free(report->runs[i].state);
        cJSON_Delete(report->runs[i].models);
        cJSON_Delete(report->runs[i].hashes);
        free_texts(report->runs[i].answers, QD_REPORT_ANSWERS);
    }
    for (int i = 0; i < report->series_count; i++)
        qd_report_series_free(&report->series[i]);
    for (int i = 0; i < report->sensitivity_count; i++)
        qd_report_sensitivity_free(&report->sensitivities[i]);
    for (int i = 0; i < report->analysis_count; i++)
        qd_report_analysis_free(&report->analyses[i]);
    free_texts(report->skipped, report->skipped_count);
    free_texts(report->lacks, report->lack_count);
    free_texts(report->answers, QD_REPORT_ANSWERS);
    free(report->files);
    free(report->runs);
    free(report->series);
    free(report->sensitivities);
    free(report->analyses);
    free(report->grid);
    free((void *)report->skipped);
    free((void *)report->lacks);
    qd_names_free(&report->names);
    free(report);
}

int qd_report_skipped_count(const qd_report *report)
{
    return report->skipped_count;
}

const char *qd_report_skipped(const qd_report *report, int index)
{
    return report->skipped[index];
}

int qd_report_lack_count(const qd_report *report)
{
    return report->lack_count;
}

const char *qd_report_lack(const qd_report *report, int index)
{
    return report->lacks[index];
}

const char *qd_report_question(int index)
{
    static const char *const questions[QD_REPORT_ANSWERS] = {
        "Which model loses more in INT8, and by how much?",
        "At which layer and epoch does it start?",
        "Weights or activations, and which remedy helps most?",
    };
    return questions[index];
}

const char *qd_report_answer(const qd_report *report, int index)
{
    return report->answers[index];
}

int qd_report_run_count(const qd_report *report)
{
    int count = 0;
    for (int r = 0; r < report->run_count; r++)
        count += qd_report_run_has_series(report, r);
    return count;
}

int qd_report_series_count(const qd_report *report)
{
    return report->series_count;
}
