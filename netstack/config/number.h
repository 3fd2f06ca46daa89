#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace netstack {

// A decimal number that is the whole text; nothing for anything else, and for one that is too big.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace netstack
