// What a switch of VDE plugs costs at the least: two plugs, and every datagram of one goes to the
// other. bench/vde_peers runs it beside the switches, so that a ratio can be read against what the
// kernel's own work leaves possible.
//
//   plug A ◄─► data socket ── recvmmsg ──► the same buffers ── sendmmsg ──► data socket ◄─► plug B
//
// It looks at no frame, has no queue and no limits, and speaks as much of the ctl protocol as two
// well-behaved clients need. A signal ends it; who made the directory's parent removes what is
// left.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

namespace {

constexpr size_t kFrameBytesMax = 9234;
constexpr size_t kSlot_size = 9280;
constexpr unsigned kBurst_count = 64;
constexpr int kBusy_count = 16;  // so many at a time, and poll(2) is not asked before the next look
constexpr int kSendBuffer_size = 1 << 20;
constexpr size_t kPathOffset = 14;  // of the client's socket, in its request
constexpr size_t kRequestMin_size = 122;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "vde_floor: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

int checked(int result, const std::string& what) {
  return result >= 0 ? result : (fail(what), -1);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

const sockaddr* raw(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

struct Plug {
  int ctl = -1;
  int data = -1;
};

// Handshake with the next client: its socket's address comes in, that of ours goes out.
Plug take_plug(int listener, const std::string& path) {
  Plug plug;
  plug.ctl = checked(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), "accept a client");
  std::array<char, 256> request{};
  const ssize_t got = ::recv(plug.ctl, request.data(), request.size() - 1, 0);
  if (got < static_cast<ssize_t>(kRequestMin_size)) fail("a client sends no request");
  plug.data = checked(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "make a socket");
  ::setsockopt(plug.data, SOL_SOCKET, SO_SNDBUF, &kSendBuffer_size, sizeof kSendBuffer_size);
  const sockaddr_un ours = address_of(path);
  const sockaddr_un client = address_of(&request[kPathOffset]);
  ::unlink(path.c_str());
  checked(::bind(plug.data, raw(ours), sizeof ours), "bind " + path);
  checked(::connect(plug.data, raw(client), sizeof client), "connect to a client's socket");
  if (::send(plug.ctl, &ours, sizeof ours, MSG_NOSIGNAL) != sizeof ours) fail("answer a client");
  return plug;
}

class Burst {
 public:
  Burst() : bytes_(std::make_unique<uint8_t[]>(kBurst_count * kSlot_size)) {
    for (size_t i = 0; i < kBurst_count; ++i) {
      slots_[i] = {&bytes_[i * kSlot_size], kFrameBytesMax};
      messages_[i].msg_hdr.msg_iov = &slots_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }

  // All that waits at `from`, at most a burst of it, goes to `to`; waits for room there.
  int move(int from, int to) {
    const int got = ::recvmmsg(from, messages_.data(), kBurst_count, MSG_DONTWAIT, nullptr);
    for (int i = 0; i < got; ++i) slot(i).iov_len = messages_[static_cast<size_t>(i)].msg_len;
    for (int sent = 0; sent < got;) {
      const int put = ::sendmmsg(to, &messages_[static_cast<size_t>(sent)],
                                 static_cast<unsigned>(got - sent), MSG_NOSIGNAL);
      if (put <= 0) break;  // it has left
      sent += put;
    }
    for (int i = 0; i < got; ++i) slot(i).iov_len = kFrameBytesMax;
    return got;
  }

 private:
  iovec& slot(int i) { return slots_[static_cast<size_t>(i)]; }

  std::unique_ptr<uint8_t[]> bytes_;
  std::array<iovec, kBurst_count> slots_{};
  std::array<mmsghdr, kBurst_count> messages_{};
};

// Until one of them leaves.
void forward(Burst& burst, const Plug& a, const Plug& b) {
  std::array<pollfd, 4> waiting{
      {{a.data, POLLIN, 0}, {b.data, POLLIN, 0}, {a.ctl, POLLIN, 0}, {b.ctl, POLLIN, 0}}};
  for (;;) {
    while (burst.move(a.data, b.data) >= kBusy_count || burst.move(b.data, a.data) >= kBusy_count) {
    }
    checked(::poll(waiting.data(), waiting.size(), -1), "poll");
    if (waiting[2].revents != 0 || waiting[3].revents != 0) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "vde_floor: usage: vde_floor DIR, which it makes\n");
    return 64;
  }
  const std::string directory = argv[1];
  const std::string ctl = directory + "/ctl";
  checked(::mkdir(directory.c_str(), 0700), "make " + directory);
  const int listener = checked(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "make a socket");
  const sockaddr_un address = address_of(ctl);
  checked(::bind(listener, raw(address), sizeof address), "bind " + ctl);
  checked(::listen(listener, 8), "listen");
  Burst burst;
  for (;;) {
    const Plug a = take_plug(listener, directory + "/a");
    const Plug b = take_plug(listener, directory + "/b");
    forward(burst, a, b);
    for (const int fd : {a.ctl, a.data, b.ctl, b.data}) ::close(fd);
  }
}
