#include "support/results_text.h"
#include "base/file.h"

char *test_results_text(const char *model, const char *tensor, double int8_accuracy, int seed, const char *lr)
{
    return qd_format(
        "{\"model_name\": \"%s\", \"block_prefixes\": [\"b\"], \"training_history\": ["
        "{\"epoch\": 0, \"train_loss\": null, \"train_acc\": null, \"val_loss\": 2.3, \"val_acc\": 10.0},"
        "{\"epoch\": 5, \"train_loss\": 1, \"train_acc\": 80, \"val_loss\": 1, \"val_acc\": 80.0}],"
        "\"activation_logs\": {"
        "\"epoch_0\": {\"b.conv\": {\"min\": -1, \"max\": 1, \"range\": 2.0, \"layer_type\": \"Conv2d\"},"
        "\"b.bn\": {\"min\": -1, \"max\": 1, \"range\": 2.0, \"layer_type\": \"BatchNorm2d\"}},"
        "\"epoch_5\": {\"b.conv\": {\"min\": -2, \"max\": 2, \"range\": 4.0, \"layer_type\": \"Conv2d\"},"
        "\"b.bn\": {\"min\": -4, \"max\": 2, \"range\": 6.0, \"layer_type\": \"BatchNorm2d\"}}},"
        "\"quantization\": {\"epoch_5\": {\"float_accuracy\": 80.0, \"int8_accuracy\": %.17g, \"eval_images\": 250,"
        "\"tensors\": {\"input\": {\"min\": -2, \"max\": 2, \"scale\": 0.0157, \"zero_point\": 0,"
        "\"sqnr_rounding_db\": 47, \"sqnr_accumulated_db\": 47}, \"%s\": {\"min\": 0, \"max\": 6, \"scale\": 0.02,"
        "\"zero_point\": -128, \"sqnr_rounding_db\": 30, \"sqnr_accumulated_db\": 12.5}}}},"
        "\"environment\": {\"configuration\": {\"seed\": %d, \"lr\": %s, \"output_dir\": \"x%d\"}}}",
        model, int8_accuracy, tensor, seed, lr, seed);
}
