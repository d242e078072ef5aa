# SPDX-License-Identifier: BSD-2-Clause
# cmake -DTERN=... -DWHAT=man|completion -DTEMPLATE=... -DOUT=... -P: put the option table's text into a template.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND ${TERN} __options ${WHAT} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
string(STRIP "${text}" text)
file(READ ${TEMPLATE} template)
string(REPLACE "%OPTIONS%" "${text}" template "${template}")
file(WRITE ${OUT} "${template}")
