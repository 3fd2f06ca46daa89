#pragma once

namespace tools {

// Gives standard input, output and error to /dev/null where the caller has closed them: a socket of
// ours must not come to stand where others print. The first thing every program does.
void open_standard_descriptors();

}  // namespace tools
