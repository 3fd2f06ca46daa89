#include "driver/qemu_features.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <utility>

#include "driver/pidfd.h"
#include "netstack/base/fd.h"

extern char** environ;

namespace driver {

// Theory. QEMU's -help begins with its version and lists the network back ends that were compiled
// in, so one run of it answers all questions. Refused: a table of versions (distributions leave
// parts out) and QMP (a machine would have to be made first).

using netstack::Fd;

namespace {

constexpr size_t kHelpSize_max = 1 << 20;

struct Running {
  pid_t pid = -1;
  Fd output;
};

std::optional<Running> start(const std::string& program, std::vector<std::string> words) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  Running running;
  running.output.reset(ends[0]);
  const Fd writing(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  words.insert(words.begin(), program);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int error =
      ::posix_spawn(&running.pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return std::nullopt;
  return running;
}

// All it says until it ends; empty when it takes too long, says too much, or we give up.
std::string read_all(const Fd& output, int give_up_fd) {
  netstack::SystemClock clock;
  const uint64_t deadline_ns = clock.monotonic_ns() + kAskQemuBound_ns;
  std::string text;
  std::array<char, 16384> chunk{};
  for (;;) {
    const uint64_t now_ns = clock.monotonic_ns();
    if (now_ns >= deadline_ns || text.size() > kHelpSize_max) return {};
    const auto wait_ms = (deadline_ns - now_ns) / netstack::kMillisecond_ns + 1;
    std::array<pollfd, 2> ready = {pollfd{output.get(), POLLIN, 0}, pollfd{give_up_fd, POLLIN, 0}};
    if (::poll(ready.data(), ready.size(), static_cast<int>(wait_ms)) <= 0) continue;
    if (ready[1].revents != 0) return {};
    const ssize_t size = ::read(output.get(), chunk.data(), chunk.size());
    if (size < 0) return {};
    if (size == 0) return text;
    text.append(chunk.data(), static_cast<size_t>(size));
  }
}

// True: it ended well. One that has said all and does not end is killed.
bool finish(pid_t pid, bool at_once) {
  const Fd pidfd = open_pidfd(pid);
  pollfd ended{pidfd.get(), POLLIN, 0};
  constexpr int kEndWait_ms = 1000;
  if (at_once || !pidfd || ::poll(&ended, 1, kEndWait_ms) <= 0) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0;
}

// What it prints for these words; empty when it fails, takes too long or is no QEMU.
std::string answer_of(const std::string& program, std::vector<std::string> words,
                      int give_up_fd = kNoFd) {
  if (!has_qemus_name(program)) return {};
  const std::optional<Running> running = start(program, std::move(words));
  if (!running) return {};
  std::string answer = read_all(running->output, give_up_fd);
  return finish(running->pid, answer.empty()) ? answer : std::string();
}

// The first words of the lines below the first line: "Accelerators supported in …:".
std::vector<std::string> listed(std::string_view answer) {
  std::vector<std::string> names;
  for (size_t at = answer.find('\n'); at != answer.npos; at = answer.find('\n')) {
    answer.remove_prefix(at + 1);
    answer.remove_prefix(std::min(answer.find_first_not_of(' '), answer.size()));
    const std::string_view name = answer.substr(0, answer.find_first_of(" ,\r\n"));
    if (!name.empty()) names.emplace_back(name);
  }
  return names;
}

bool take_number(std::string_view& text, unsigned& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

}  // namespace

QemuFeatures QemuFeatures::read(std::string_view help) {
  constexpr std::string_view kBegin = "QEMU emulator version ";
  const size_t at = help.find(kBegin);
  QemuFeatures features;
  if (at == help.npos) return features;
  std::string_view version = help.substr(at + kBegin.size());
  if (!take_number(version, features.major) || !version.starts_with('.')) return features;
  version.remove_prefix(1);
  if (!take_number(version, features.minor)) return features;
  const auto netdev = [&](std::string_view type) {
    return help.find(fmt::format("-netdev {},", type)) != help.npos;
  };
  features.stream = netdev("stream");
  features.vde = netdev("vde");
  features.vhost_user = netdev("vhost-user");
  features.known = true;
  return features;
}

QemuFeatures ask_qemu(const std::string& program, int give_up_fd) {
  return QemuFeatures::read(answer_of(program, {"-help"}, give_up_fd));
}

std::vector<std::string> qemu_accelerators(const std::string& program) {
  return listed(answer_of(program, {"-accel", "help"}));
}

bool qemu_has_object(const std::string& program, std::string_view type) {
  const std::vector<std::string> types = listed(answer_of(program, {"-object", "help"}));
  return std::ranges::find(types, type) != types.end();
}

std::string qemu_for_this_machine() {
  utsname host{};
  ::uname(&host);
  std::string arch = host.machine;
  if (arch.size() == 4 && arch.starts_with('i') && arch.ends_with("86")) arch = "i386";
  if (arch.starts_with("arm")) arch = "arm";
  if (arch == "ppc64le") arch = "ppc64";
  return "qemu-system-" + arch;
}

bool has_qemus_name(std::string_view program) {
  const std::string_view name = program.substr(program.rfind('/') + 1);
  return name.starts_with("qemu-system-") || name == "qemu-kvm" || name == "kvm" ||
         name == "lanyard-qemu";
}

}  // namespace driver
