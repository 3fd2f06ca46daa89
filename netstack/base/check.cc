#include "netstack/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace netstack {

void check(bool ok, const char* what, const char* file, int line) noexcept {
  if (ok) [[likely]]
    return;
  std::fprintf(stderr, "lanyard: bug: %s (%s:%d)\n", what, file, line);
  std::abort();
}

}  // namespace netstack
