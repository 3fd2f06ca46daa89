#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace netstack {

// "1 guest", "2 guests": of nouns whose plural has an s.
inline std::string counted(std::string_view count, std::string_view noun) {
  return std::string(count).append(" ").append(noun).append(count == "1" ? "" : "s");
}
inline std::string counted(uint64_t count, std::string_view noun) {
  return counted(std::to_string(count), noun);
}

}  // namespace netstack
