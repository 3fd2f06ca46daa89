#include "netstack/reachability/wording.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace netstack {

const char* version_name(bool v6) {
  return v6 ? "IPv6" : "IPv4";
}

std::string enumerate(const std::vector<std::string>& parts) {
  if (parts.size() <= 1) return parts.empty() ? std::string{} : parts.front();
  std::vector<std::string> named(parts.begin(),
                                 parts.begin() + std::min(parts.size(), kNamedCountMax));
  const size_t rest = parts.size() - named.size();
  std::string last = rest != 0 ? fmt::format("{} more", rest) : named.back();
  if (rest == 0) named.pop_back();
  return fmt::format("{} and {}", fmt::join(named, ", "), last);
}

std::string quoted(std::string_view text) {
  return fmt::format("\"{}\"", text);
}

}  // namespace netstack
