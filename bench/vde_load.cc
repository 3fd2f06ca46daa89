// Loads a VDE switch through the stock libvdeplug and says what that cost. bench/vde_peers runs it
// against two switches in turn.
//
//   flow        plug A ── send() as fast as the switch lets it ──► switch ──► plug B counts
//   round_trip  plug A ── one frame ──► switch ──► plug B ── the same frame ──► switch ──► A
//   hold        many plugs that do nothing, until standard input ends
//   ready       from starting a switch to the moment DIR/ctl takes a connection
//
// The switch's cost is read from the CPU clock of its process (clock_getcpuclockid(3): all threads,
// user and kernel, in nanoseconds), so it does not matter how much of the time other processes had
// the processor. Clients use blocking sockets and one system call per frame, as QEMU and vde_plug
// do. Each subcommand prints one JSON object, is bounded in time, and ends with status 0 only if it
// measured something.
#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

extern "C" {  // a C header that does not say so itself
#include <libvdeplug.h>
}

namespace {

constexpr size_t kFrameBytesMax = 9216;
constexpr size_t kFrameBytesMin = 26;         // head and sequence number
constexpr uint16_t kEthertypeLocal = 0x88b5;  // IEEE 802, local experimental use
constexpr uint64_t kSendsPerLook_count = 64;  // between two looks at the clock
constexpr timeval kQuiet{0, 200'000};         // a receiver that hears nothing so long has heard all
constexpr timeval kStuck{5, 0};               // a sender that waits so long gives up
constexpr uint64_t kFlowMs_max = 60'000;
constexpr int kReadyMs_max = 5'000;

using Mac = std::array<uint8_t, 6>;
constexpr Mac kMacA{0x52, 0x54, 0, 0, 0, 0x0a};
constexpr Mac kMacB{0x52, 0x54, 0, 0, 0, 0x0b};
constexpr Mac kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

uint64_t read_clock_ns(clockid_t id) {
  timespec ts{};
  if (::clock_gettime(id, &ts) != 0) fail("cannot read the switch's CPU clock: has it ended?");
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(ts.tv_nsec);
}

uint64_t now_ns() {
  return read_clock_ns(CLOCK_MONOTONIC);
}

clockid_t cpu_clock_of(pid_t pid) {
  clockid_t id{};
  if (::clock_getcpuclockid(pid, &id) != 0) fail(fmt::format("process {} has no CPU clock", pid));
  return id;
}

class Plug {
 public:
  explicit Plug(std::string directory) {
    std::string description = "vde_load:";
    plug_ = ::vde_open(directory.data(), description.data(), nullptr);
    if (plug_ == nullptr)
      fail(fmt::format("cannot plug into {}: {}", directory, std::strerror(errno)));
    ::setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &kQuiet, sizeof kQuiet);
    ::setsockopt(fd(), SOL_SOCKET, SO_SNDTIMEO, &kStuck, sizeof kStuck);
  }
  ~Plug() {
    if (plug_ != nullptr) ::vde_close(plug_);
  }
  Plug(Plug&& other) noexcept : plug_(std::exchange(other.plug_, nullptr)) {}
  Plug& operator=(Plug&&) = delete;

  void send(const uint8_t* frame, size_t bytes) {
    const ssize_t put = ::vde_send(plug_, frame, bytes, 0);
    if (put == static_cast<ssize_t>(bytes)) return;
    fail(fmt::format("a frame was not sent: {}", put < 0 ? std::strerror(errno) : "cut short"));
  }
  // Bytes received; 0: nothing came for kQuiet.
  size_t receive(uint8_t* frame, size_t bytes) {
    const ssize_t got = ::vde_recv(plug_, frame, bytes, 0);
    return got > 0 ? static_cast<size_t>(got) : 0;
  }

 private:
  int fd() const { return ::vde_datafd(plug_); }
  VDECONN* plug_ = nullptr;
};

class TestFrame {
 public:
  TestFrame(const Mac& to, const Mac& from, size_t bytes) : bytes_(bytes, 0x5a) {
    std::copy(to.begin(), to.end(), bytes_.begin());
    std::copy(from.begin(), from.end(), bytes_.begin() + 6);
    bytes_[12] = kEthertypeLocal >> 8U;
    bytes_[13] = kEthertypeLocal & 0xff;
    number(0);
  }
  void number(uint64_t value) { std::memcpy(&bytes_[14], &value, sizeof value); }
  const uint8_t* data() const { return bytes_.data(); }
  size_t size() const { return bytes_.size(); }

 private:
  std::vector<uint8_t> bytes_;
};

bool is_for(const uint8_t* frame, size_t bytes, const Mac& to) {
  return bytes >= kFrameBytesMin && std::equal(to.begin(), to.end(), frame) &&
         frame[12] == kEthertypeLocal >> 8U && frame[13] == (kEthertypeLocal & 0xff);
}

uint64_t number_of(const uint8_t* frame) {
  uint64_t value = 0;
  std::memcpy(&value, frame + 14, sizeof value);
  return value;
}

// Each plug speaks once and the other hears it: the switch works and knows both stations.
void introduce(Plug& a, Plug& b) {
  std::array<uint8_t, kFrameBytesMax> heard;
  const TestFrame from_a(kBroadcast, kMacA, 60);
  const TestFrame from_b(kBroadcast, kMacB, 60);
  a.send(from_a.data(), from_a.size());
  if (b.receive(heard.data(), heard.size()) == 0) fail("the switch does not forward");
  b.send(from_b.data(), from_b.size());
  if (a.receive(heard.data(), heard.size()) == 0) fail("the switch does not forward");
}

// --- flow -------------------------------------------------------------------------------------

struct Arrivals {
  uint64_t frame_count = 0;
  uint64_t disorder_count = 0;  // a number not above the one before: out of order, or twice
  uint64_t last_ns = 0;
};

// What a client's own thread paid, apart from the switch.
struct ClientCost {
  uint64_t cpu_ns = 0;
  uint64_t sleep_count = 0;  // times it gave the processor up to wait
};

ClientCost cost_of_this_thread() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return {read_clock_ns(CLOCK_THREAD_CPUTIME_ID), static_cast<uint64_t>(usage.ru_nvcsw)};
}

Arrivals count_arrivals(Plug& plug, const std::atomic<bool>& sending) {
  std::array<uint8_t, kFrameBytesMax> frame;
  Arrivals arrivals;
  uint64_t number_before = 0;
  for (;;) {
    const bool more_to_come = sending.load();
    const size_t bytes = plug.receive(frame.data(), frame.size());
    if (bytes == 0) {
      if (!more_to_come) return arrivals;
      continue;
    }
    if (!is_for(frame.data(), bytes, kMacB)) continue;
    const uint64_t number = number_of(frame.data());
    if (number <= number_before) ++arrivals.disorder_count;
    number_before = number;
    if (++arrivals.frame_count % kSendsPerLook_count == 0) arrivals.last_ns = now_ns();
  }
}

uint64_t send_for(Plug& plug, TestFrame& frame, uint64_t duration_ns) {
  const uint64_t end_ns = now_ns() + duration_ns;
  uint64_t sent = 0;
  while (sent % kSendsPerLook_count != 0 || now_ns() < end_ns) {
    frame.number(++sent);
    plug.send(frame.data(), frame.size());
  }
  return sent;
}

void flow(const std::string& directory, pid_t pid, size_t bytes, uint64_t duration_ms) {
  if (bytes < kFrameBytesMin || bytes > kFrameBytesMax) fail("frames have 26 to 9216 bytes");
  if (duration_ms > kFlowMs_max) fail("a flow lasts a minute at most");
  Plug a(directory);
  Plug b(directory);
  introduce(a, b);
  TestFrame frame(kMacB, kMacA, bytes);
  const clockid_t cpu = cpu_clock_of(pid);

  std::atomic<bool> sending{true};
  Arrivals arrivals;
  ClientCost receiving;
  const uint64_t cpu_begin_ns = read_clock_ns(cpu);
  const uint64_t begin_ns = now_ns();
  std::thread receiver([&] {
    arrivals = count_arrivals(b, sending);
    receiving = cost_of_this_thread();
  });
  uint64_t sent = 0;
  try {
    sent = send_for(a, frame, duration_ms * 1'000'000);
  } catch (...) {
    sending = false;
    receiver.join();
    throw;
  }
  sending = false;
  receiver.join();
  const uint64_t cpu_ns = read_clock_ns(cpu) - cpu_begin_ns;
  if (arrivals.last_ns == 0) fail("hardly a frame arrived");
  const ClientCost sending_cost = cost_of_this_thread();
  fmt::print(
      R"({{"sent": {}, "received": {}, "disorder": {}, "elapsed_ns": {}, "cpu_ns": {}, )"
      R"("sender_cpu_ns": {}, "sender_sleeps": {}, "receiver_cpu_ns": {}, "receiver_sleeps": {}}})"
      "\n",
      sent, arrivals.frame_count, arrivals.disorder_count, arrivals.last_ns - begin_ns, cpu_ns,
      sending_cost.cpu_ns, sending_cost.sleep_count, receiving.cpu_ns, receiving.sleep_count);
}

// --- round trip -------------------------------------------------------------------------------

void echo_until(Plug& plug, const std::atomic<bool>& going) {
  std::array<uint8_t, kFrameBytesMax> frame;
  while (going.load()) {
    const size_t bytes = plug.receive(frame.data(), frame.size());
    if (bytes == 0 || !is_for(frame.data(), bytes, kMacB)) continue;
    std::copy(kMacA.begin(), kMacA.end(), frame.begin());
    std::copy(kMacB.begin(), kMacB.end(), frame.begin() + 6);
    plug.send(frame.data(), bytes);
  }
}

void round_trip(const std::string& directory, pid_t pid, uint64_t count) {
  Plug a(directory);
  Plug b(directory);
  introduce(a, b);
  const clockid_t cpu = cpu_clock_of(pid);
  std::atomic<bool> going{true};
  std::thread echo([&] { echo_until(b, going); });

  TestFrame frame(kMacB, kMacA, 64);
  std::array<uint8_t, kFrameBytesMax> answer;
  std::vector<uint64_t> trips_ns;
  const uint64_t cpu_begin_ns = read_clock_ns(cpu);
  for (uint64_t n = 1; n <= count; ++n) {
    frame.number(n);
    const uint64_t begin_ns = now_ns();
    a.send(frame.data(), frame.size());
    size_t bytes = 0;
    do {
      bytes = a.receive(answer.data(), answer.size());
    } while (bytes != 0 && !(is_for(answer.data(), bytes, kMacA) && number_of(answer.data()) == n));
    if (bytes != 0) trips_ns.push_back(now_ns() - begin_ns);
  }
  const uint64_t cpu_ns = read_clock_ns(cpu) - cpu_begin_ns;
  going = false;
  echo.join();
  if (trips_ns.empty()) fail("no answer came back");
  std::sort(trips_ns.begin(), trips_ns.end());
  fmt::print(R"({{"answered": {}, "asked": {}, "median_ns": {}, "p99_ns": {}, "cpu_ns": {}}})"
             "\n",
             trips_ns.size(), count, trips_ns[trips_ns.size() / 2],
             trips_ns[trips_ns.size() * 99 / 100], cpu_ns);
}

// --- hold -------------------------------------------------------------------------------------

void hold(const std::string& directory, uint64_t count) {
  std::vector<Plug> plugs;
  for (uint64_t n = 0; n < count; ++n) plugs.emplace_back(directory);
  fmt::print(R"({{"plugs": {}}})"
             "\n",
             plugs.size());
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
}

// --- ready ------------------------------------------------------------------------------------

bool answers(const sockaddr_un& address) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return connected;
}

// Its standard input stays open, as the switches want it, and its output is not ours to print.
pid_t start(char** command, int stdin_fd) {
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, stdin_fd, STDIN_FILENO);
  ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int refusal = ::posix_spawnp(&pid, command[0], &files, nullptr, command, ::environ);
  ::posix_spawn_file_actions_destroy(&files);
  if (refusal != 0) fail(fmt::format("cannot start {}: {}", command[0], std::strerror(refusal)));
  return pid;
}

void ready(const std::string& directory, char** command) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string ctl = directory + "/ctl";
  if (ctl.size() >= sizeof address.sun_path) fail("the directory's name is too long");
  std::copy(ctl.begin(), ctl.end(), address.sun_path);
  std::array<int, 2> input{};
  if (::pipe2(input.data(), O_CLOEXEC) != 0) fail("cannot make a pipe");

  const uint64_t begin_ns = now_ns();
  const pid_t pid = start(command, input[0]);
  bool up = false;
  while (!(up = answers(address)) && now_ns() - begin_ns < kReadyMs_max * 1'000'000ULL) {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  const uint64_t ready_ns = now_ns() - begin_ns;
  ::kill(pid, SIGTERM);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!up) fail(fmt::format("{} was not ready within {} ms", command[0], kReadyMs_max));
  fmt::print(R"({{"ready_ns": {}}})"
             "\n",
             ready_ns);
}

uint64_t number_from(const char* text) {
  char* end = nullptr;
  const uint64_t value = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0') fail(fmt::format("'{}' is no number", text));
  return value;
}

constexpr const char* kUsage =
    "usage: vde_load flow DIR PID BYTES MILLISECONDS | round_trip DIR PID COUNT | hold DIR COUNT | "
    "ready DIR COMMAND...";

void run(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "flow" && argc == 6) {
    flow(argv[2], static_cast<pid_t>(number_from(argv[3])), number_from(argv[4]),
         number_from(argv[5]));
  } else if (what == "round_trip" && argc == 5) {
    round_trip(argv[2], static_cast<pid_t>(number_from(argv[3])), number_from(argv[4]));
  } else if (what == "hold" && argc == 4) {
    hold(argv[2], number_from(argv[3]));
  } else if (what == "ready" && argc > 3) {
    ready(argv[2], argv + 3);
  } else {
    fail(kUsage);
  }
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "vde_load: {}\n", error.what());
    return 1;
  }
  return 0;
}
