/* A tiny data set and experiment that train in a second: what the tests of the command line run on. */
#ifndef TESTS_CLI_TINY_H
#define TESTS_CLI_TINY_H

typedef struct tiny {
    char *folder;     /* temporary; everything lies in it */
    char *data;       /* train/ and val/, ten classes, 4 and 2 images each, 32 px */
    char *experiment; /* EfficientNet-B0, 32 px, batch 8, one epoch of five steps */
    char *out;        /* where the experiment writes */
} tiny;

tiny tiny_create(void);
void tiny_destroy(tiny *t);

/* "<data>/<split>/<n-th class in order>", and the first file in it. Freed with free(). */
char *tiny_class(const tiny *t, const char *split, int n);
char *tiny_image(const tiny *t, const char *split, int n);

/* "<out>/checkpoints/<name>". Freed with free(). */
char *tiny_checkpoint(const tiny *t, const char *name);

#endif
