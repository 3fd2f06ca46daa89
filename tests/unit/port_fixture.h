#pragma once

#include <dirent.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/base/log.h"
#include "netstack/loop/loop.h"
#include "netstack/port/port_host.h"

// What tests of ports need around a port: a host and sink that remember, a log that remembers,
// frames that can be told apart.

using Bytes = std::vector<uint8_t>;

// A frame of `size` bytes (14 or more), no two numbers alike.
inline Bytes numbered_frame(size_t size, uint32_t number) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(number * 31 + i * 7);
  constexpr std::array<uint8_t, 14> kHead{0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 8, 0};
  std::memcpy(bytes.data(), kHead.data(), kHead.size());
  if (size >= 18) std::memcpy(&bytes[14], &number, sizeof number);
  return bytes;
}

// One frame as a view of `bytes`, which outlives it.
class FrameView {
 public:
  explicit FrameView(const Bytes& bytes) {
    netstack::view_frame(bytes.data(), bytes.size(), frame_, body_);
  }
  FrameView(const FrameView&) = delete;
  FrameView& operator=(const FrameView&) = delete;
  std::span<const netstack::Frame> burst() const { return {&frame_, 1}; }

 private:
  netstack::Frame frame_;
  iovec body_{};
};

inline void send_all(netstack::Port& port, const std::vector<Bytes>& frames) {
  netstack::FrameBatch<netstack::kBurstFrames> batch;
  for (const Bytes& frame : frames) {
    batch.add(frame.data(), frame.size());
    if (!batch.full()) continue;
    port.send(batch.frames());
    batch.clear();
  }
  port.send(batch.frames());
}

class MemoryLog final : public netstack::Log {
 public:
  void line(std::string_view text) override { lines.emplace_back(text); }
  size_t count(std::string_view part) const {
    return static_cast<size_t>(std::count_if(lines.begin(), lines.end(), [&](const auto& line) {
      return line.find(part) != std::string::npos;
    }));
  }
  std::vector<std::string> lines;
};

class TestHost final : public netstack::PortHost, public netstack::Sink {
 public:
  explicit TestHost(netstack::Loop& loop) : loop_(loop) {}

  netstack::Port* add(std::unique_ptr<netstack::Port> port) override {
    if (ports.size() == capacity) return nullptr;
    port->attach(*this, next_id_++);
    ports.push_back(std::move(port));
    return ports.back().get();
  }
  void remove(netstack::Port& port, std::string_view why) override {
    reasons.emplace_back(why);
    loop_.at_end_of_tick([this, gone = &port] {
      final_counters.push_back(gone->counters());
      gone->detach();
      std::erase_if(ports, [&](const auto& owned) { return owned.get() == gone; });
    });
  }
  void receive(netstack::PortId, std::span<netstack::Frame> burst) noexcept override {
    largest_burst = std::max(largest_burst, burst.size());
    for (const netstack::Frame& frame : burst) {
      Bytes bytes(frame.bytes);
      netstack::copy_frame(frame, bytes.data());
      received.push_back(std::move(bytes));
    }
  }

  size_t capacity = 1'000'000;
  size_t largest_burst = 0;
  std::vector<std::unique_ptr<netstack::Port>> ports;
  std::vector<Bytes> received;
  std::vector<std::string> reasons;                    // of removals, in order
  std::vector<netstack::PortCounters> final_counters;  // of removed ports, in order

 private:
  netstack::Loop& loop_;
  netstack::PortId next_id_ = 1;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "/tmp/lanyard-test-XXXXXX";
    if (::mkdtemp(name) == nullptr) std::abort();
    path = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::string file(std::string_view name) const { return fmt::format("{}/{}", path, name); }
  std::string path;
};

inline std::vector<std::string> files_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline size_t open_fd_count() {
  return files_in("/proc/self/fd").size();
}

// Turns the loop until `done`; false: not within a time that is long on any machine.
template <typename Done>
bool tick_until(netstack::Loop& loop, Done done) {
  constexpr uint64_t kPatience_ns = 30 * netstack::kSecond_ns;
  netstack::SystemClock clock;
  const uint64_t end_ns = clock.monotonic_ns() + kPatience_ns;
  while (!done()) {
    if (clock.monotonic_ns() > end_ns) return false;
    loop.tick(netstack::kMillisecond_ns);
  }
  return true;
}

// The other side has closed: recv says so instead of having nothing.
inline bool at_end(int fd) {
  uint8_t byte = 0;
  const ssize_t got = ::recv(fd, &byte, 1, MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno == ECONNRESET);
}
