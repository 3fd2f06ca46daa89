// What a process can do after it has locked itself in, tried by children of this program.
#include "tools/sandbox/sandbox.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "netstack/base/clock.h"
#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "netstack/base/log.h"
#include "netstack/names/resolv_conf.h"

using namespace tools;
using netstack::Fd;
namespace fs = std::filesystem;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kFiltered = false;  // a sanitizer build says that it has no filter
#else
constexpr bool kFiltered = true;
#endif

constexpr int kThrew = 99;

// How a child that locked itself in has ended.
struct Outcome {
  int status = 0;  // its exit status
  int signal = 0;  // or what ended it
  std::string said;
};

using Act = std::function<int()>;

[[noreturn]] void be_child(const SandboxPlan& plan, const Act& act, int said) {
  ::dup2(said, STDERR_FILENO);
  ::signal(SIGABRT, SIG_DFL);  // doctest's own would fork
  try {
    lock_in(plan);
    ::_exit(act());
  } catch (const std::exception& error) {
    (void)!::write(STDERR_FILENO, error.what(), std::string_view(error.what()).size());
    ::_exit(kThrew);
  }
}

Outcome run(const SandboxPlan& plan, const Act& act) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) be_child(plan, act, writing.get());
  writing.reset();
  Outcome outcome;
  std::array<char, 512> bytes;
  for (ssize_t got = 0; (got = ::read(reading.get(), bytes.data(), bytes.size())) > 0;) {
    outcome.said.append(bytes.data(), static_cast<size_t>(got));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  if (WIFEXITED(status)) outcome.status = WEXITSTATUS(status);
  return outcome;
}

// 0, or the errno that the call failed with.
template <class Result>
int errno_of(Result result) {
  return result < Result{0} ? errno : 0;
}

int open_errno(const std::string& path, int flags) {
  return Fd(::open(path.c_str(), flags | O_CLOEXEC, 0600)) ? 0 : errno;
}

int socket_errno(int family, int type, int protocol = 0) {
  return Fd(::socket(family, type | SOCK_CLOEXEC, protocol)) ? 0 : errno;
}

std::string own_status(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":\t")) return line.substr(field.size() + 2);
  }
  return {};
}

void check_ends(const char* name, const Act& act) {
  CAPTURE(name);
  const Outcome outcome = run({}, act);
  CHECK(outcome.signal == SIGSYS);
  CHECK(outcome.said.find(std::string("(") + name + ")") != outcome.said.npos);
}

class Folder {
 public:
  Folder() {
    std::string name = fs::temp_directory_path() / "sandbox.XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ / name; }
  std::string path() const { return path_; }

 private:
  fs::path path_;
};

void put(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

int bind_errno(const std::string& path) {
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return errno_of(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
}

}  // namespace

TEST_CASE("a locked process has no privilege and cannot get one") {
  SandboxPlan plan;
  add_host_files(plan, "/etc/resolv.conf");
  const Outcome outcome = run(plan, [] {
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
      if (own_status(set) != "0000000000000000") return 1;
    }
    if (own_status("NoNewPrivs") != "1") return 2;
    return own_status("Seccomp") == (kFiltered ? "2" : "0") ? 0 : 3;
  });
  CHECK(outcome.status == 0);
  CHECK(outcome.signal == 0);
}

TEST_CASE("capabilities that are kept are those that were there, and no others") {
  const std::string before = own_status("CapPrm");
  SandboxPlan plan;
  add_host_files(plan, "/etc/resolv.conf");
  plan.capabilities = {CAP_KILL, CAP_MAC_ADMIN};
  const Outcome outcome = run(plan, [&] {
    const uint64_t now = std::stoull(own_status("CapEff"), nullptr, 16);
    const uint64_t asked = uint64_t{1} << CAP_KILL | uint64_t{1} << CAP_MAC_ADMIN;
    return now == (std::stoull(before, nullptr, 16) & asked) ? 0 : 1;
  });
  CHECK(outcome.status == 0);
}

TEST_CASE("gaps are told, and only those that are") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(static_cast<int>(lock_in({}).gaps.size()));
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == (kFiltered ? 0 : 1));
}

TEST_CASE("what is not on the list ends the process and is named") {
  if (!kFiltered) return;  // which is told: see above
  check_ends("execve", [] {
    char* none[] = {nullptr};
    return ::execve("/bin/true", none, none);
  });
  check_ends("ptrace", [] { return static_cast<int>(::ptrace(PTRACE_TRACEME, 0, 0, 0)); });
  check_ends("clone", [] { return static_cast<int>(::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); });
  check_ends("kill", [] { return ::kill(1, 0); });
  check_ends("tgkill", [] { return static_cast<int>(::syscall(SYS_tgkill, 1, 1, 0)); });
  check_ends("setuid", [] { return static_cast<int>(::syscall(SYS_setuid, 0)); });
  check_ends("unshare", [] { return static_cast<int>(::syscall(SYS_unshare, 0x10000000)); });
  check_ends("mount", [] { return static_cast<int>(::syscall(SYS_mount, 0, "/", 0, 0, 0)); });
  check_ends("bpf", [] { return static_cast<int>(::syscall(SYS_bpf, 0, 0, 0)); });
  check_ends("io_uring_setup", [] { return static_cast<int>(::syscall(425, 1, 0)); });
  check_ends("process_vm_readv",
             [] { return static_cast<int>(::syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0)); });
  check_ends("keyctl", [] { return static_cast<int>(::syscall(SYS_keyctl, 0, 0, 0, 0, 0)); });
  check_ends("symlink", [] { return static_cast<int>(::syscall(SYS_symlink, "/a", "/b")); });
  check_ends("ioctl", [] { return static_cast<int>(::syscall(SYS_ioctl, 0, 0x5412, "x")); });
  check_ends("prctl", [] { return static_cast<int>(::syscall(SYS_prctl, 4, 1)); });
  check_ends("socket", [] { return socket_errno(AF_PACKET, SOCK_RAW); });
  check_ends("socket", [] { return socket_errno(AF_VSOCK, SOCK_STREAM); });
  // What the kernel does not look at, the filter must.
  check_ends("socket", [] {
    return static_cast<int>(::syscall(SYS_socket, uint64_t{1} << 32U | AF_INET, SOCK_RAW, 1));
  });
}

TEST_CASE("sockets of other kinds are refused, as libslirp and the C library expect") {
  if (!kFiltered) return;  // which is told: see above
  CHECK(run({}, [] { return socket_errno(AF_INET, SOCK_STREAM); }).status == EACCES);
  CHECK(run({}, [] { return socket_errno(AF_UNIX, SOCK_DGRAM); }).status == 0);
  CHECK(run({}, [] { return socket_errno(AF_UNIX, SOCK_STREAM); }).status == EACCES);
  SandboxPlan plan;
  plan.internet = true;
  plan.unix_streams = true;
  for (const int family : {AF_INET, AF_INET6}) {
    CAPTURE(family);
    CHECK(run(plan, [=] { return socket_errno(family, SOCK_STREAM | SOCK_NONBLOCK); }).status == 0);
    CHECK(run(plan, [=] { return socket_errno(family, SOCK_DGRAM); }).status == 0);
    CHECK(run(plan, [=] { return socket_errno(family, SOCK_RAW, 1); }).status == EACCES);
  }
  CHECK(run(plan, [] { return socket_errno(AF_UNIX, SOCK_STREAM); }).status == 0);
  CHECK(run(plan, [] { return socket_errno(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); }).status == 0);
  CHECK(run(plan, [] {
          return socket_errno(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
        }).status == EACCES);
}

TEST_CASE("no memory becomes executable, and younger calls are those of an older kernel") {
  if (!kFiltered) return;  // which is told: see above
  constexpr size_t kPage = 4096;
  const auto map = [](int protection) {
    return ::mmap(nullptr, kPage, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  };
  CHECK(run({}, [&] { return map(PROT_READ | PROT_EXEC) == MAP_FAILED ? errno : 0; }).status ==
        EACCES);
  CHECK(run({}, [&] {
          return errno_of(::mprotect(map(PROT_READ), kPage, PROT_READ | PROT_EXEC));
        }).status == EACCES);
  CHECK(run({}, [&] { return errno_of(::mprotect(map(PROT_READ), kPage, PROT_WRITE)); }).status ==
        0);
  CHECK(run({}, [] { return errno_of(::syscall(460)); }).status == ENOSYS);
}

TEST_CASE("threads start in there; children only outside") {
  const Outcome outcome = run({}, [] {
    int done = 0;
    std::thread([&] { done = 1; }).join();
    return done == 1 ? 0 : 1;
  });
  CHECK(outcome.status == 0);
  CHECK(outcome.signal == 0);
}

TEST_CASE("a process with threads does not lock itself in") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::signal(SIGABRT, SIG_DFL);
    std::thread([] { ::pause(); }).detach();
    lock_in({});
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
}

TEST_CASE("files are out of reach but for those of the plan") {
  const Folder folder;
  const std::string lan = folder / "lan";
  fs::create_directory(lan);
  put(folder / "secret", "x");
  put(lan + "/old", "x");
  SandboxPlan plan;
  add_lan_directory(plan, lan, false);
  add_host_files(plan, "/etc/resolv.conf");
  CHECK(run(plan, [&] { return open_errno(folder / "secret", O_RDONLY); }).status == EACCES);
  CHECK(run(plan, [&] { return open_errno(folder / "new", O_WRONLY | O_CREAT); }).status == EACCES);
  CHECK(run(plan, [&] { return open_errno("/root", O_RDONLY | O_DIRECTORY); }).status == EACCES);
  CHECK(run(plan, [&] { return open_errno("/etc/shadow", O_RDONLY); }).status == EACCES);
  CHECK(run(plan, [&] { return open_errno("/bin/sh", O_RDONLY); }).status == EACCES);
  CHECK(run(plan, [&] { return open_errno("/dev/null", O_RDWR); }).status == 0);
  CHECK(run(plan, [&] { return open_errno("/proc/net/route", O_RDONLY); }).status == 0);
  CHECK(run(plan, [&] { return open_errno("/proc/self/gid_map", O_RDONLY); }).status == 0);
  CHECK(run(plan, [&] { return open_errno("/proc/self/comm", O_WRONLY); }).status == EACCES);
  CHECK(run(plan, [&] { return open_errno(lan + "/new", O_WRONLY | O_CREAT | O_TRUNC); }).status ==
        0);
  const auto move = [&](const std::string& to) {
    return run(plan, [&] { return errno_of(::rename((lan + "/new").c_str(), to.c_str())); }).status;
  };
  CHECK(move(folder / "secret") == EACCES);
  CHECK(move(lan + "/newer") == 0);
  fs::rename(lan + "/newer", lan + "/new");
  CHECK(run(plan, [&] { return bind_errno(lan + "/socket"); }).status == 0);
  CHECK(run(plan, [&] { return bind_errno(folder / "socket"); }).status == EACCES);
  CHECK(run(plan, [&] { return errno_of(::unlink((lan + "/old").c_str())); }).status == 0);
  CHECK(run(plan, [&] { return errno_of(::unlink((folder / "secret").c_str())); }).status ==
        EACCES);
  for (const char* left : {"/new", "/socket"}) fs::remove(lan + left);
  CHECK(run(plan, [&] { return errno_of(::rmdir(lan.c_str())); }).status == 0);
  CHECK(!fs::exists(lan));
}

namespace {

// Runs `act` in a locked child; its first argument makes another process rename `next` to `current`
// and waits for that.
Outcome run_beside_a_rename(const SandboxPlan& plan, const std::string& next,
                            const std::string& current,
                            const std::function<int(const std::function<bool()>&)>& act) {
  std::array<int, 2> ask{};
  std::array<int, 2> answer{};
  REQUIRE(::pipe2(ask.data(), O_CLOEXEC) == 0);
  REQUIRE(::pipe2(answer.data(), O_CLOEXEC) == 0);
  const pid_t replacer = ::fork();
  REQUIRE(replacer >= 0);
  char byte = 0;
  if (replacer == 0) {
    if (::read(ask[0], &byte, 1) == 1) fs::rename(next, current);
    (void)!::write(answer[1], "x", 1);
    ::_exit(0);
  }
  const Outcome outcome = run(plan, [&] {
    return act([&] { return ::write(ask[1], "x", 1) == 1 && ::read(answer[0], &byte, 1) == 1; });
  });
  for (const int fd : {ask[0], ask[1], answer[0], answer[1]}) ::close(fd);
  ::waitpid(replacer, nullptr, 0);
  return outcome;
}

std::string first_server(netstack::ResolvConf& resolv) {
  const auto& servers = resolv.servers();
  return servers.empty() ? "" : to_string(servers[0]);
}

}  // namespace

TEST_CASE("a resolv.conf that is replaced, behind a symbolic link, is read on") {
  const Folder folder;
  fs::create_directory(folder / "run");
  put(folder / "run/resolv", "nameserver 127.0.0.1\n");
  put(folder / "run/next", "nameserver 127.0.0.2\n");
  fs::create_symlink(folder / "run/resolv", folder / "resolv.conf");
  SandboxPlan plan;
  add_host_files(plan, folder / "resolv.conf");
  const Outcome outcome = run_beside_a_rename(
      plan, folder / "run/next", folder / "run/resolv", [&](const std::function<bool()>& replace) {
        netstack::SystemClock clock;
        netstack::FdLog log(STDERR_FILENO, "test");
        netstack::ResolvConf resolv(folder / "resolv.conf", clock, log);
        if (first_server(resolv) != "127.0.0.1") return 1;
        if (!replace()) return 2;
        return first_server(resolv) == "127.0.0.2" ? 0 : 3;
      });
  CHECK(outcome.status == 0);
  CHECK(outcome.said == "");
}

TEST_CASE(
    "a resolv.conf that is out of reach since it was replaced leaves the servers as they were") {
  const Folder folder;
  put(folder / "resolv.conf", "nameserver 127.0.0.1\n");
  put(folder / "next", "nameserver 127.0.0.2\n");
  SandboxPlan plan;
  plan.files = {{folder / "resolv.conf", FileUse::kRead}};
  const Outcome outcome = run_beside_a_rename(
      plan, folder / "next", folder / "resolv.conf", [&](const std::function<bool()>& replace) {
        netstack::SystemClock clock;
        netstack::FdLog log(STDERR_FILENO, "test");
        netstack::ResolvConf resolv(folder / "resolv.conf", clock, log);
        if (first_server(resolv) != "127.0.0.1") return 1;
        if (!replace()) return 2;
        if (first_server(resolv) != "127.0.0.1") return 3;
        return first_server(resolv) == "127.0.0.1" ? 0 : 4;
      });
  CHECK(outcome.status == 0);
  CHECK(outcome.said ==
        "test: cannot read " + (folder / "resolv.conf") +
            " since it was replaced: Permission denied; the nameservers stay as they were: start "
            "again for the new ones\n");
}

TEST_CASE("the sandbox says in a sentence what stands") {
  Sandbox sandbox;
  CHECK(sandbox.sentence() == "not locked in: it has not locked itself in");
  sandbox = {.why_off = {}, .no_new_privileges = true, .system_calls_are_locked = true};
  sandbox.landlock_abi = 4;
  CHECK(sandbox.sentence() == "locked in: no new privileges, seccomp, Landlock ABI 4");
  sandbox.landlock_abi = 0;
  sandbox.gaps = {"the sandbox is incomplete: …"};
  CHECK(sandbox.sentence() == "locked in, with gaps: no new privileges, seccomp, no Landlock");
}

TEST_CASE("the sandbox knows where files can be made") {
  const Folder folder;
  Sandbox sandbox;
  CHECK(sandbox.lets_make("/anywhere"));
  sandbox.landlock_abi = 1;
  sandbox.writable = {folder.path()};
  CHECK(sandbox.lets_make(folder / "x.pcap"));
  CHECK(sandbox.lets_make(folder / "below/x.pcap"));
  CHECK(!sandbox.lets_make(folder.path() + "x"));
  CHECK(!sandbox.lets_make(folder / "../x.pcap"));
  CHECK(!sandbox.lets_make(folder.path()));
}
