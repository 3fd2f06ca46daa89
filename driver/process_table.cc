#include "driver/process_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string>

#include "netstack/base/fd.h"
#include "netstack/base/number.h"

namespace driver {

namespace {

constexpr size_t kProcFileBytesMax = 4U << 20U;  // an environment is at most ARG_MAX, 2 MiB

std::string read_proc(pid_t pid, const char* name) {
  const netstack::Fd fd(
      ::open(fmt::format("/proc/{}/{}", pid, name).c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!fd) return text;
  char piece[4096];
  ssize_t size = 0;
  while (text.size() < kProcFileBytesMax && (size = ::read(fd.get(), piece, sizeof piece)) > 0) {
    text.append(piece, static_cast<size_t>(size));
  }
  return text;
}

std::vector<pid_t> all_pids() {
  std::vector<pid_t> pids;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
  if (!proc) return pids;
  while (const dirent* entry = ::readdir(proc.get())) {
    if (const auto pid = netstack::parse_number<pid_t>(entry->d_name)) pids.push_back(*pid);
  }
  return pids;
}

// proc(5): "PID (COMM) STATE PPID …"; COMM may hold anything, so the last parenthesis counts.
std::optional<Process> read_process(pid_t pid) {
  const std::string stat = read_proc(pid, "stat");
  const size_t comm_end = stat.rfind(')');
  if (comm_end == stat.npos || comm_end + 4 > stat.size()) return std::nullopt;
  Process process{pid, 0, stat[comm_end + 2] == 'Z'};
  std::from_chars(stat.data() + comm_end + 4, stat.data() + stat.size(), process.parent);
  return process;
}

}  // namespace

std::vector<Process> descendants(pid_t root, pid_t except) {
  std::vector<Process> rest;
  for (const pid_t pid : all_pids()) {
    if (const auto process = read_process(pid); process && pid != except) rest.push_back(*process);
  }
  // Generation by generation: those whose parent is already in move over.
  std::vector<Process> found;
  std::vector<pid_t> parents{root};
  while (!parents.empty()) {
    const auto born = std::partition(rest.begin(), rest.end(), [&](const Process& process) {
      return std::find(parents.begin(), parents.end(), process.parent) == parents.end();
    });
    parents.clear();
    for (auto at = born; at != rest.end(); ++at) parents.push_back(at->pid);
    found.insert(found.end(), born, rest.end());
    rest.erase(born, rest.end());
  }
  return found;
}

std::vector<pid_t> marked(std::string_view mark) {
  std::vector<pid_t> found;
  for (const pid_t pid : all_pids()) {
    if (read_proc(pid, "environ").find(mark) != std::string::npos) found.push_back(pid);
  }
  return found;
}

}  // namespace driver
