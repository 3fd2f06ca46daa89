// vde_switch: the VDE switch under its old name; options, console and sockets as its users know
// them. See README.md for what differs.
#include <exception>

#include "netstack/base/error.h"
#include "netstack/loop/signal_watch.h"
#include "tools/lan/face.h"
#include "tools/lan/standard_descriptors.h"
#include "tools/vde_switch/vde_switch.h"

namespace {

constexpr int kFailureStatus = 255;

int run(tools::VdeSwitchOptions options, tools::FaceLog& log) {
  if (options.answer) {
    tools::write_out(options.answer->text);
    return options.answer->status;
  }
  const tools::VdeSwitchEnd end = tools::run_vde_switch(std::move(options), log);
  if (end.signal != 0) netstack::end_by_signal(end.signal);  // everything is cleaned up
  return end.status;
}

}  // namespace

int main(int argc, char** argv) {
  tools::prepare_process();
  tools::heed_even_if_ignored(SIGINT);  // but nohup keeps it, as it keeps Debian's
  tools::FaceLog log(argc > 0 ? argv[0] : "vde_switch");  // whole, as it always was
  try {
    return run(tools::parse_vde_switch_options(argc, argv), log);
  } catch (const netstack::Error& error) {
    log.line(error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    log.line(error.what());
    return kFailureStatus;
  }
}
