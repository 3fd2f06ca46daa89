#pragma once

#include <string>
#include <string_view>
#include <vector>

// Pieces that the sentences of judge.cc and judge_route.cc share.
namespace netstack {

constexpr size_t kNamedCountMax = 4;  // links or groups that one sentence names

const char* version_name(bool v6);  // "IPv4", "IPv6"

// a, b and c; what exceeds kNamedCountMax is counted: a, b, c, d and 3 more.
std::string enumerate(const std::vector<std::string>& parts);

std::string quoted(std::string_view text);  // in double quotes

}  // namespace netstack
