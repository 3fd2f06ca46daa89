#include "tools/lan/plug_session.h"

#include <fmt/format.h>
#include <sysexits.h>

#include "netstack/base/clock.h"
#include "netstack/base/error.h"
#include "netstack/loop/signal_watch.h"
#include "netstack/port/cable.h"

namespace tools {

int run_plug_session(netstack::Log& log, const MakePlug& lan, const MakePort& ours,
                     const std::function<void()>& on_ready) {
  netstack::SystemClock clock;
  netstack::Loop loop(clock);
  bool signalled = false;
  const netstack::SignalWatch signals(loop, netstack::kEndingSignals, [&](int) {
    signalled = true;
    loop.stop();
  });
  int status = EX_OK;
  const netstack::Port* lan_end = nullptr;
  netstack::Cable cable(loop, log, [&](const netstack::Port& ended, std::string_view why) {
    if (&ended == lan_end) {
      log.line(fmt::format("{} has ended{}{}", ended.name(), why.empty() ? "" : ": ", why));
    } else if (!why.empty()) {
      log.line(fmt::format("{}: {}", ended.name(), why));
      status = EX_UNAVAILABLE;
    }
    loop.stop();
  });
  try {
    lan_end = cable.add(lan(loop, cable, signals.fd()));
  } catch (const netstack::Error&) {
    loop.tick(0);
    if (signalled) return EX_OK;
    throw;
  }
  cable.add(ours(loop, cable, log));
  on_ready();
  loop.run();
  return status;
}

}  // namespace tools
