// vde_switch: the VDE switch under its old name; options, console and sockets as its users know
// them. See README.md for what differs.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>

#include "netstack/base/error.h"
#include "tools/vde_switch/vde_switch.h"

namespace {

constexpr int kFailureStatus = 255;

// A caller may have closed them; a socket of ours must not come to stand where others print.
void open_standard_descriptors() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) ::close(fd);
}

int run(tools::VdeSwitchOptions options, tools::FaceLog& log) {
  if (options.answer) {
    std::fputs(options.answer->text.c_str(), stdout);
    return options.answer->status;
  }
  const tools::VdeSwitchEnd end = tools::run_vde_switch(std::move(options), log);
  if (end.signal != 0) {  // everything is cleaned up: end as the signal would have
    std::signal(end.signal, SIG_DFL);
    std::raise(end.signal);
  }
  return end.status;
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a peer that left is an error code, not a signal
  tools::FaceLog log(argc > 0 ? std::filesystem::path(argv[0]).filename().string() : "vde_switch");
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
