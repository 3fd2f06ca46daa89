#pragma once

#include <doctest/doctest.h>
#include <pcap/pcap.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/capture/capture.h"

// What the capture's tests share: a folder, frames, and libpcap as the reader of what was written.
namespace tests {

using namespace netstack;

using Bytes = std::vector<uint8_t>;

class MemoryLog final : public Log {
 public:
  void line(std::string_view text) override { lines.emplace_back(text); }
  size_t count_of(std::string_view part) const {
    size_t count = 0;
    for (const std::string& text : lines) count += text.find(part) != std::string::npos ? 1 : 0;
    return count;
  }
  std::vector<std::string> lines;
};

struct TemporaryDirectory {
  TemporaryDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "lanyard-capture-XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  std::string file(const char* name) const { return path / name; }
  std::filesystem::path path;
};

inline Bytes frame_bytes(size_t size, uint8_t fill) {
  Bytes bytes(size, fill);
  bytes[12] = 0x08;  // IPv4: no tag
  bytes[13] = 0x00;
  return bytes;
}

// A port that only has a name.
struct NamedPort final : Port {
  explicit NamedPort(std::string name) : Port(std::move(name), kFrameBytesMax) {}
  size_t transmit(std::span<const Frame> burst) noexcept override { return burst.size(); }
};

inline void observe(Capture& capture, const Bytes& bytes, const Port& ingress) {
  Frame frame;
  iovec body;
  REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
  capture.observe(ingress, {&frame, 1});
}
inline void observe(Capture& capture, const Bytes& bytes) {
  observe(capture, bytes, NamedPort("port"));
}

struct Recorded {
  uint64_t wall_ns;
  uint32_t wire_size;
  Bytes bytes;
};

// Every record of a savefile; fails the test when the file ends in the middle of one, or says
// another snapshot length.
inline std::vector<Recorded> read_savefile(std::FILE* file, int snapshot_size = 262'144) {
  std::string error(PCAP_ERRBUF_SIZE, '\0');
  pcap_t* pcap =
      ::pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, error.data());
  INFO(error);
  REQUIRE(pcap != nullptr);
  CHECK(::pcap_datalink(pcap) == DLT_EN10MB);
  CHECK(::pcap_snapshot(pcap) == snapshot_size);
  std::vector<Recorded> records;
  pcap_pkthdr* head = nullptr;
  const u_char* data = nullptr;
  int more = 0;
  while ((more = ::pcap_next_ex(pcap, &head, &data)) == 1) {
    records.push_back({static_cast<uint64_t>(head->ts.tv_sec) * kSecond_ns +
                           static_cast<uint64_t>(head->ts.tv_usec),
                       head->len, Bytes(data, data + head->caplen)});
  }
  CHECK_MESSAGE(more == PCAP_ERROR_BREAK, ::pcap_geterr(pcap));
  ::pcap_close(pcap);
  return records;
}

inline std::vector<Recorded> read_savefile(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  REQUIRE(file != nullptr);
  return read_savefile(file);
}

// Gives up after a while, so that a broken writer fails a check instead of hanging the test.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace tests
