#include "netstack/port/stream_listener.h"

#include <fmt/format.h>

#include "netstack/port/stream_port.h"

namespace netstack {

StreamListener::StreamListener(Loop& loop, PortHost& host, Log& log, const std::string& path,
                               mode_t mode)
    : loop_(loop),
      host_(host),
      log_(log, loop.clock(), fmt::format("clients of {}", path)),
      acceptor_(loop, log_, listen_unix(path, mode),
                [this](Fd client) { serve(std::move(client)); }) {}

void StreamListener::serve(Fd client) {
  auto port = std::make_unique<StreamPort>(loop_, host_, std::move(client),
                                           fmt::format("stream {}", ++number_));
  if (host_.add(std::move(port)) == nullptr) {
    log_.line(fmt::format("stream {} was turned away: the LAN is full", number_));
  }
}

}  // namespace netstack
