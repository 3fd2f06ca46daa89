#include "tools/doctor/process_status.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace tools {

namespace {
constexpr size_t kSmallFile_size = 64 * 1024;
}  // namespace

std::string status_field(std::string_view name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') continue;
    const size_t start = line.find_first_not_of(" \t", name.size() + 1);
    return start == line.npos ? std::string() : line.substr(start);
  }
  return {};
}

bool has_capability(unsigned number) {
  const uint64_t effective = std::strtoull(status_field("CapEff").c_str(), nullptr, 16);
  return (effective >> number & 1U) != 0;
}

std::optional<std::string> small_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text(kSmallFile_size, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return std::nullopt;
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace tools
