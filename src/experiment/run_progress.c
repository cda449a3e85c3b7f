/* What a run tells while it works. */
#include "base/error.h"
#include "experiment/run.h"
#include <math.h>
#include <time.h>

double qd_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void qd_progress_begin(qd_model_run *m, const char *phase)
{
    m->phase = phase;
    m->phase_start_s = qd_now_s();
}

double qd_progress_phase_seconds(const qd_model_run *m)
{
    return qd_now_s() - m->phase_start_s;
}

/* Logged epochs in (first, last]. */
static int64_t logs_between(const qd_config *config, int64_t first, int64_t last)
{
    int64_t count = last / config->log_every - first / config->log_every;
    return count + (last == config->num_epochs && last % config->log_every != 0 && last > first);
}

/* What is left of the model's run at the mean pace of what has been measured. */
static double time_left(const qd_model_run *m)
{
    const qd_config *config = m->run->config;
    const qd_pace *pace = &m->pace;
    if (pace->steps == 0 || !m->train_loader)
        return NAN;
    int64_t batches = qd_loader_batch_count(m->train_loader);
    int64_t steps = batches * config->num_epochs, epochs = config->num_epochs;
    if (config->max_steps != QD_CONFIG_NULL && config->max_steps < steps) {
        steps = config->max_steps;
        epochs = (steps + batches - 1) / batches;
    }
    double left = (double)(steps - m->steps) * pace->train_s / (double)pace->steps;
    if (pace->validations > 0)
        left += (double)(epochs - m->epoch) * pace->validate_s / (double)pace->validations;
    if (pace->logs > 0)
        left += (double)logs_between(config, m->epoch, epochs) * pace->log_s / (double)pace->logs;
    return left > 0.0 ? left : 0.0;
}

/* What log.txt keeps of a phase; the command line shows the last progress line in its place. */
static void log_phase(const qd_model_run *m, int64_t images, const qd_totals *totals)
{
    char outcome[80] = "";
    if (totals)
        snprintf(outcome, sizeof outcome, ", loss %.4f, accuracy %.2f %%", qd_totals_loss(totals),
                 qd_totals_accuracy_percent(totals));
    qd_log(m->run->ctx, QD_LOG_DEBUG, "%s epoch %lld/%lld %s: %lld images in %.1f s%s", m->model->display_name,
           (long long)m->phase_epoch, (long long)m->epoch_count, m->phase, (long long)images,
           qd_progress_phase_seconds(m), outcome);
}

enum qd_status qd_progress_report(qd_model_run *m, int64_t step, int64_t step_count, int64_t images,
                                  const qd_totals *totals, const qd_loader *loader)
{
    const qd_run_options *options = m->run->options;
    if (step == step_count)
        log_phase(m, images, totals);
    if (options->progress) {
        double seconds = qd_progress_phase_seconds(m);
        const qd_progress progress = {
            .model = m->model->display_name,
            .phase = m->phase,
            .epoch = m->phase_epoch,
            .epoch_count = m->epoch_count,
            .step = step,
            .step_count = step_count,
            .images_per_s = seconds > 0.0 ? (double)images / seconds : 0.0,
            .loss = totals ? qd_totals_loss(totals) : NAN,
            .accuracy_percent = totals ? qd_totals_accuracy_percent(totals) : NAN,
            .eta_s = time_left(m),
            .wait_share = loader && seconds > 0.0 ? fmin(1.0, qd_loader_wait_seconds(loader) / seconds) : NAN,
            .phase_end = step == step_count,
        };
        options->progress(options->user, &progress);
    }
    if (options->interrupt && *options->interrupt)
        return qd_fail(m->run->ctx, QD_ERR_INTERRUPTED,
                       "interrupted in epoch %lld of %s; run it again with --resume to go on from there",
                       (long long)m->phase_epoch, m->model->display_name);
    return QD_OK;
}
