// The guest's cable of bench/gateway_peers: a tap interface of this network namespace at one end,
// a stream socket as QEMU speaks it (four bytes of length, big-endian, then the frame) at the
// other. Linked to nothing of ours, so that each gateway gets the same one.
//
//   gateway_link INTERFACE SOCKET       ends when the gateway closes the socket
//
// Frames go in bursts: up to kBurst_frames are read from the tap and written to the socket in one
// call, and whatever a read from the socket brings goes to the tap. While the socket takes no more,
// the tap is not read, so its queue fills and the guest's TCP notices, as it would in a guest.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr size_t kBurst_frames = 64;
constexpr size_t kFrame_size_max = 65'550;
constexpr size_t kLength_size = 4;
constexpr size_t kRead_size = size_t{256} << 10U;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "gateway_link: cannot %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int open_tap(const char* name) {
  const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) give_up("open /dev/net/tun");
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(fd, TUNSETIFF, &request) != 0) give_up("make a tap interface");
  return fd;
}

int open_socket(const char* path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    give_up("connect to the gateway");
  }
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

void write_length(uint8_t* at, size_t size) {
  for (unsigned i = 0; i < kLength_size; ++i) at[i] = static_cast<uint8_t>(size >> (24 - 8 * i));
}

size_t read_length(const uint8_t* at) {
  size_t size = 0;
  for (unsigned i = 0; i < kLength_size; ++i) size = size << 8U | at[i];
  return size;
}

class Link {
 public:
  Link(int tap, int socket) : tap_(tap), socket_(socket) {
    out_.resize(kBurst_frames * (kLength_size + kFrame_size_max));
    in_.resize(kRead_size + kLength_size + kFrame_size_max);
  }

  void run() {
    for (;;) {
      const bool waiting = out_start_ < out_end_;
      std::array<pollfd, 2> polls{
          pollfd{socket_, static_cast<short>(waiting ? POLLIN | POLLOUT : POLLIN), 0},
          pollfd{waiting ? -1 : tap_, POLLIN, 0}};
      if (::poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) give_up("wait");
      if ((polls[0].revents & POLLOUT) != 0) flush();
      if ((polls[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !take_from_socket()) return;
      if ((polls[1].revents & POLLIN) != 0) take_from_tap();
    }
  }

 private:
  void take_from_tap() {
    out_start_ = out_end_ = 0;
    for (size_t i = 0; i < kBurst_frames; ++i) {
      uint8_t* at = &out_[out_end_];
      const ssize_t size = ::read(tap_, at + kLength_size, kFrame_size_max);
      if (size <= 0) break;
      write_length(at, static_cast<size_t>(size));
      out_end_ += kLength_size + static_cast<size_t>(size);
    }
    flush();
  }

  void flush() {
    while (out_start_ < out_end_) {
      const ssize_t sent = ::send(socket_, &out_[out_start_], out_end_ - out_start_, MSG_NOSIGNAL);
      if (sent < 0) return;  // later, or the next read says that the gateway has gone
      out_start_ += static_cast<size_t>(sent);
    }
  }

  bool take_from_socket() {
    const ssize_t got = ::recv(socket_, &in_[in_end_], kRead_size, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
    if (got > 0) in_end_ += static_cast<size_t>(got);
    size_t at = 0;
    while (in_end_ - at >= kLength_size) {
      const size_t size = read_length(&in_[at]);
      if (size > kFrame_size_max) return false;
      if (in_end_ - at - kLength_size < size) break;
      if (::write(tap_, &in_[at + kLength_size], size) < 0 && errno != EIO) give_up("use the tap");
      at += kLength_size + size;
    }
    std::memmove(in_.data(), &in_[at], in_end_ - at);
    in_end_ -= at;
    return true;
  }

  int tap_;
  int socket_;
  std::vector<uint8_t> out_;  // for the socket
  size_t out_start_ = 0;
  size_t out_end_ = 0;
  std::vector<uint8_t> in_;  // from the socket
  size_t in_end_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: gateway_link INTERFACE SOCKET\n");
    return 64;
  }
  const int tap = open_tap(argv[1]);
  Link(tap, open_socket(argv[2])).run();
}
