#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tools {

// One field of /proc/self/status, proc(5): "Seccomp" gives "2". Empty: no such field.
std::string status_field(std::string_view name);

// Whether this process has a capability in effect, capabilities(7): CAP_NET_ADMIN is 12.
bool has_capability(unsigned number);

// A small file, whole, without its last line feed; nothing when it cannot be read.
std::optional<std::string> small_file(const std::string& path);

}  // namespace tools
