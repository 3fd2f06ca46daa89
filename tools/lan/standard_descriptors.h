#pragma once

#include <string_view>

namespace tools {

// Gives standard input, output and error to /dev/null where the caller has closed them: a socket of
// ours must not come to stand where others print. The first thing every program does.
void open_standard_descriptors();
bool has_standard_output();  // the caller had not closed it

// To standard output, and out of its buffer. Throws Error (EX_IOERR) when that cannot take it, or
// the caller has closed it: what was asked for is lost then, and whoever reads on must know. Where
// the reader has left, the process ends by SIGPIPE.
void write_out(std::string_view text);

}  // namespace tools
