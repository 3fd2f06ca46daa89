#pragma once

namespace netstack {

// Aborts with one line on stderr when `ok` is false, in every build. For our own bugs only: bad
// frames, bad peers and a refusing host each have a way of their own (see netstack/base/README.md).
// (Compiler built-ins rather than std::source_location: clang 14 does not have that yet.)
void check(bool ok, const char* what, const char* file = __builtin_FILE(),
           int line = __builtin_LINE()) noexcept;

}  // namespace netstack
