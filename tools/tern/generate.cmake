# SPDX-License-Identifier: BSD-2-Clause
# cmake -DTERN=... -DWHAT=man|completion -DTEMPLATE=... -DOUT=... -P: fill a template from the option table.
execute_process(COMMAND ${TERN} __options ${WHAT} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
string(STRIP "${text}" TABLE)
set(COMMANDS "${text}")
file(READ ${TEMPLATE} template)
string(REPLACE "@TABLE@" "${TABLE}" template "${template}")
string(REPLACE "@COMMANDS@" "${COMMANDS}" template "${template}")
file(WRITE ${OUT} "${template}")
