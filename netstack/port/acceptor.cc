#include "netstack/port/acceptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "netstack/base/error.h"

namespace netstack {
namespace {

Fd take_reserve() {
  return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

}  // namespace

Acceptor::Acceptor(Loop& loop, LogThrottle& log, UnixListener listener, OnClient on_client)
    : loop_(loop),
      log_(log),
      on_client_(std::move(on_client)),
      reserve_(take_reserve()),
      listening_(loop, std::move(listener.fd), EPOLLIN, [this](uint32_t) { accept_some(); }),
      file_(std::move(listener.file)) {}

Acceptor::~Acceptor() {
  loop_.cancel(resume_);
}

void Acceptor::accept_some() {
  for (int i = 0; i < kAcceptsPerTick_count; ++i) {
    Fd client(::accept4(listening_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (client) {
      serve(std::move(client));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN) refuse_one(errno);
    return;
  }
}

void Acceptor::serve(Fd client) {
  said_ = false;
  try {
    on_client_(std::move(client));
  } catch (const Error& error) {
    log_.line(fmt::format("{}: a client was turned away: {}", path(), error.what()));
  }
}

void Acceptor::refuse_one(int errno_value) {
  if (!std::exchange(said_, true)) {
    log_.line(
        fmt::format("cannot accept clients at {}: {}; raise `ulimit -n`; until then they are "
                    "turned away",
                    path(), errno_text(errno_value)));
  }
  reserve_.reset();
  const bool refused = static_cast<bool>(Fd(::accept4(listening_.get(), nullptr, nullptr, 0)));
  reserve_ = take_reserve();
  if (!refused || !reserve_) pause();
}

void Acceptor::pause() {
  listening_.rewatch(0);
  resume_ = loop_.after(kAcceptPause_ns, [this] { listening_.rewatch(EPOLLIN); });
}

}  // namespace netstack
