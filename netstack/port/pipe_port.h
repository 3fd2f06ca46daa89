#pragma once

#include <memory>
#include <string>
#include <vector>

#include "netstack/loop/loop.h"
#include "netstack/port/port_host.h"
#include "netstack/port/watched_fd.h"

namespace netstack {

constexpr size_t kPipeLength_size = 2;           // big-endian, before each frame
constexpr size_t kPipeRead_size = 128 * 1024;    // per pull
constexpr size_t kPipeQueue_size = 1024 * 1024;  // of what the reader has not taken yet

// Frames over two descriptors, as vde_plug and dpipe carry them over standard input and output:
//
//   ┌─────────────┬───────────────┬─────────────┬─ ─ ─
//   │ length (BE) │ frame, no FCS │ length (BE) │
//   └─────────────┴───────────────┴─────────────┴─ ─ ─
//     2 bytes       length bytes
//
// The port ends where the input ends. Stock vde_plug 2 takes frames of at most 1521 bytes.
class PipePort final : public Port {
 public:
  // Both descriptors stay the caller's; they are non-blocking while the port lives. Either may be
  // of any kind, a file or /dev/null too. Throws Error when the input cannot be watched.
  PipePort(Loop& loop, PortHost& host, int in, int out, std::string name);
  ~PipePort() override;

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;
  DropReason drop_rest_as() const noexcept override { return drop_reason_; }

 private:
  struct Ingress;

  void pull_each_tick();
  void pull();
  void take_frames();
  void deliver_batch();
  void write_pending();
  void leave();

  Loop& loop_;
  PortHost& host_;
  int in_;
  int out_;
  int in_flags_;
  int out_flags_;
  Loop::TimerId next_pull_ = 0;  // of an input that cannot be waited for
  std::unique_ptr<Ingress> ingress_;
  size_t ingress_size_ = 0;       // bytes at the buffer's start that are not a whole frame yet
  std::vector<uint8_t> pending_;  // framed, for the reader
  DropReason drop_reason_ = DropReason::kQueueFull;
  bool waits_ = false;  // for the output to become writable
  bool reader_there_ = true;
  bool left_ = false;
};

}  // namespace netstack
