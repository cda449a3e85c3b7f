/*
 * How well predictions fit labels, and how much two networks differ on the same images: what qd_network_evaluate()'s
 * predictions are turned into. Nothing here knows a network.
 */
#ifndef QUANTDRIFT_EVALUATION_H
#define QUANTDRIFT_EVALUATION_H

#include <quantdrift/dataset.h>

/* One class among the images that were looked at. A quotient of 0 by 0 is 0, as scikit-learn's zero_division=0 has
 * it: the precision of a class that was never predicted, the recall of one without images. */
typedef struct qd_class_scores {
    int64_t images, predicted, correct;
    double precision; /* correct / predicted */
    double recall;    /* correct / images */
    double f1;        /* 2 correct / (predicted + images) */
} qd_class_scores;

typedef struct qd_scores {
    int64_t count, correct;
    double accuracy_percent;      /* 0 without images */
    double precision, recall, f1; /* mean over classes that have images or predictions: scikit-learn's "macro" */
    int64_t class_count;
    qd_class_scores *classes; /* [class_count] */
    int64_t *confusion;       /* [label][prediction] */
} qd_scores;

/* Scores of the images indices[0 … n), or of images 0 … n-1 when indices is NULL; labels and predictions in [0,
 * class_count). Freed with qd_scores_free(). Errors: QD_ERR_MEMORY. */
enum qd_status qd_scores_compute(qd_context *ctx, const int64_t *labels, const int64_t *predicted,
                                 const int64_t *indices, int64_t n, int64_t class_count, qd_scores *out);
void qd_scores_free(qd_scores *scores);

/* Two networks on the same images. */
typedef struct qd_comparison {
    int64_t count;
    int64_t agree;                   /* same prediction, right or wrong */
    int64_t only_first, only_second; /* images that one alone gets right */
    double drop;                     /* accuracy of the first minus that of the second, points of a percent */
    double low, high;                /* 95 % interval of the drop, points */
} qd_comparison;

/*
 * Arguments as for qd_scores_compute(). The interval is Newcombe's for paired proportions: Wilson's score intervals
 * of both accuracies, combined with their correlation. It has its coverage for small samples too, and is not empty
 * when the networks never differ. All zeros without images. Source: R. G. Newcombe, Improved confidence intervals for
 * the difference between binomial proportions based on paired data, Statistics in Medicine 17 (1998), method 10.
 */
qd_comparison qd_comparison_compute(const int64_t *labels, const int64_t *first, const int64_t *second,
                                    const int64_t *indices, int64_t n);

/* The images of a data set in groups, in order of the groups' names. */
typedef struct qd_grouping {
    int count;
    char **names;     /* [count] raw bytes */
    int64_t *first;   /* [count + 1]: group g has indices[first[g]] … indices[first[g + 1] - 1], ascending */
    int64_t *indices; /* [images] */
} qd_grouping;

/* Groups images by the folder below their class, whatever class that is: "val/<class>/<group>/…". One that lies
 * directly in its class's folder belongs to the group with the class's name. Freed with qd_grouping_free(). Errors:
 * QD_ERR_MEMORY.
 */
enum qd_status qd_grouping_by_folder(qd_context *ctx, const qd_dataset *dataset, qd_grouping *out);
void qd_grouping_free(qd_grouping *grouping);

#endif
