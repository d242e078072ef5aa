/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/tern/vm_process.h"

const struct engine_ops engine_libtern = {
    .options_init = tern_options_init,
    .source_create = tern_source_create,
    .source_run = tern_source_run,
    .source_cancel = tern_source_cancel,
    .source_destroy = tern_source_destroy,
    .destination_create = tern_destination_create,
    .destination_port = tern_destination_port,
    .destination_run = tern_destination_run,
    .destination_cancel = tern_destination_cancel,
    .destination_destroy = tern_destination_destroy,
    .suspend_create = tern_suspend_create,
    .suspend_run = tern_suspend_run,
    .suspend_cancel = tern_suspend_cancel,
    .suspend_destroy = tern_suspend_destroy,
    .resume_create = tern_resume_create,
    .resume_run = tern_resume_run,
    .resume_cancel = tern_resume_cancel,
    .resume_destroy = tern_resume_destroy,
};
