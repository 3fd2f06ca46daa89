#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace netstack {

// All of these are for nouns whose plural has an s. "guest" for 1, "guests" for any other number.
inline std::string in_number(std::string_view count, std::string_view noun) {
  return std::string(noun).append(count == "1" ? "" : "s");
}
inline std::string in_number(uint64_t count, std::string_view noun) {
  return in_number(std::to_string(count), noun);
}

// "1 guest", "2 guests".
inline std::string counted(std::string_view count, std::string_view noun) {
  return std::string(count).append(" ").append(in_number(count, noun));
}
inline std::string counted(uint64_t count, std::string_view noun) {
  return counted(std::to_string(count), noun);
}

}  // namespace netstack
