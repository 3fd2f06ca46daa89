#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>

#include "netstack/port/memory_port.h"
#include "tests/unit/port_fixture.h"
#include "tools/vde_switch/interpreter.h"

// vde_switch without sockets, and the replies its console gives.

// A switch without sockets, and its console.
struct ConsoleWorld {
  ConsoleWorld() {
    options.mac = netstack::Mac{{0x00, 0xff, 1, 2, 3, 4}};
    lan.fabric().fdb().watch(&events);
    lan.ports().watch([this](const tools::PortEvent& event) { events.port_event(event); });
  }
  ~ConsoleWorld() {
    lan.fabric().fdb().watch(nullptr);
    lan.ports().watch({});
  }

  netstack::MemoryPort* plug(netstack::PlugRequest request, std::string_view description = "QEMU") {
    request.module = "unix prog";
    request.description = description;
    auto port = std::make_unique<netstack::MemoryPort>("plug");
    return static_cast<netstack::MemoryPort*>(lan.add_plug(std::move(port), request));
  }
  std::string run(std::string_view line) { return interpreter.run(line, nullptr).text; }

  netstack::ManualClock clock;
  netstack::Loop loop{clock};
  MemoryLog log;
  tools::VdeSwitchOptions options;
  tools::Lan lan{loop, log, {.aging_ns = 100 * netstack::kSecond_ns, .say_drops = false}};
  tools::EventBoard events;
  tools::SwitchState state{lan, log, options, events, clock.monotonic_ns()};
  tools::Interpreter interpreter{state};
};

inline std::string framed(std::string_view body, std::string_view code = "1000 Success") {
  return fmt::format("0000 DATA END WITH '.'\n{}.\n{}\n", body, code);
}

inline const std::string kOk = "1000 Success\n";
inline const std::string kNoEntry = "1002 No such file or directory\n";
inline const std::string kNoDevice = "1006 No such device or address\n";
inline const std::string kExists = "1017 File exists\n";
inline const std::string kInvalid = "1022 Invalid argument\n";
inline const std::string kMissing = "1038 Function not implemented\n";
inline const std::string kInUse = "1098 Address already in use\n";
