/* Every subcommand, once. Adding one: its file src/cli/command_<name>.c and a line here. On the command line an
 * underscore of the name is a hyphen. */
#ifndef QD_CLI_COMMAND_LIST_H
#define QD_CLI_COMMAND_LIST_H

#define QD_COMMAND_LIST(X)                                                                                           \
    X(run, "train, observe and quantize the models of an experiment, or a queue of them")                            \
    X(status, "every run below a folder: state, epochs, accuracies, who works on it")                                \
    X(verify, "a run's files against its manifest, its numbers against its checkpoints")                             \
    X(report, "tables, plots and one page of what the files of runs say")                                            \
    X(compare, "several runs or seeds: means, spread, paired differences")                                           \
    X(synth, "write the embedded data set: ten drawn classes")                                                       \
    X(dataset, "scan a data folder: classes, counts, sizes, unreadable files, fingerprint")                          \
    X(quantize, "the INT8 form of a checkpoint as a file that runs by itself, and its encodings")                    \
    X(grid, "many ways to quantize checkpoints, what each costs, in one table")                                      \
    X(eval, "accuracy, scores a class, confusion matrix; float and INT8 side by side")                               \
    X(observe, "activation statistics of a checkpoint's modules over given images")                                  \
    X(analyze, "why ranges are wide: worst layers, BatchNorm's part, codes, channels")                               \
    X(sensitivity, "which layers do not bear quantization, and the fewest to leave in float32")                      \
    X(bench, "speed of training steps or forward passes on random images")                                           \
    X(profile, "where a training step's time goes, layer by layer, beside the floor")                                \
    X(init_study, "activation statistics of freshly initialised blocks of both networks")                            \
    X(batch, "the training batches that a run sees, as a file and as a picture")                                     \
    X(import, "make a checkpoint of weights that PyTorch saved")                                                     \
    X(export, "write a checkpoint for PyTorch, ONNX runtimes, or as a table of scales")                              \
    X(inspect, "tensors of an ONNX, safetensors or .pth file; scales of quantized models")

#endif
