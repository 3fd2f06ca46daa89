#include "netstack/base/error.h"

#include <fmt/format.h>

#include <cstring>
#include <system_error>

namespace netstack {

Error host_error(int errno_value, const std::string& tried, const std::string& remedy,
                 int exit_code) {
  const std::string cause = errno_text(errno_value);
  return Error(exit_code, remedy.empty() ? fmt::format("cannot {}: {}", tried, cause)
                                         : fmt::format("cannot {}: {}; {}", tried, cause, remedy));
}

std::string errno_text(int errno_value) {
  return std::generic_category().message(errno_value);
}

std::string errno_name(int errno_value) {
  const char* name = ::strerrorname_np(errno_value);
  return name != nullptr ? name : fmt::format("errno {}", errno_value);
}

}  // namespace netstack
