/* SPDX-License-Identifier: BSD-2-Clause */
#include <signal.h>

#include "tools/tern/cli.h"

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error of write, not the end */
    signal(SIGXFSZ, SIG_IGN); /* likewise an image beyond the limit of file sizes: it would end the guest */
    return cli_run(argc, argv);
}
