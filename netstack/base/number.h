#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace netstack {

// A number that is the whole text, decimal unless `base` says otherwise; nothing for anything else,
// and for one that is too big.
template <typename Number>
std::optional<Number> parse_number(std::string_view text, int base = 10) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace netstack
