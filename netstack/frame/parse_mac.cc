#include "netstack/frame/parse_mac.h"

#include <charconv>

namespace netstack {

std::optional<Mac> parse_mac(std::string_view text) {
  constexpr size_t kTextBytes = 17;
  if (text.size() != kTextBytes) return std::nullopt;
  Mac mac;
  for (size_t at = 0; at < mac.octets.size(); ++at) {
    const char* begin = text.data() + at * 3;
    const auto [end, error] = std::from_chars(begin, begin + 2, mac.octets[at], 16);
    if (error != std::errc() || end != begin + 2) return std::nullopt;
    if (at > 0 && begin[-1] != ':') return std::nullopt;
  }
  return mac;
}

}  // namespace netstack
