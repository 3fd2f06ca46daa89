#include "tools/lan/plug_session.h"

#include <fmt/format.h>
#include <sysexits.h>

#include "netstack/base/clock.h"
#include "netstack/loop/signal_watch.h"
#include "netstack/port/cable.h"

namespace tools {

int run_plug_session(netstack::Log& log, const MakePort& lan, const MakePort& ours,
                     const std::function<void()>& on_ready) {
  netstack::SystemClock clock;
  netstack::Loop loop(clock);
  const netstack::SignalWatch signals(loop, netstack::kEndingSignals,
                                      [&loop](int) { loop.stop(); });
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
  lan_end = cable.add(lan(loop, cable, log));
  cable.add(ours(loop, cable, log));
  on_ready();
  loop.run();
  return status;
}

}  // namespace tools
