#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "driver/command_line.h"
#include "driver/option_list.h"

namespace driver {

// One network of a command that Lanyard could carry, and what is plugged into it.
//
//   form     │ written                                    │ its card
//   ─────────┼────────────────────────────────────────────┼─────────────────────────────────────
//   kNetdev  │ -netdev user,id=N,…                        │ -device MODEL,netdev=N
//            │                                            │ or -net nic,netdev=N,model=MODEL
//   kNic     │ -nic user,model=MODEL,mac=MAC,…            │ itself
//   kNet     │ -net user,…                                │ -net nic,model=MODEL, all on hub 0
struct Network {
  enum class Form : uint8_t { kNetdev, kNic, kNet };
  enum class Kind : uint8_t { kUser, kVde };
  enum class Plug : uint8_t {
    kDevice,  // exactly one -device, and nothing else names the network
    kNetNic,  // exactly one -net nic
    kNic,     // the -nic itself
    kHub,     // several on hub 0
    kOther,   // none, several, a filter, or none that can be told
  };

  Form form = Form::kNetdev;
  Kind kind = Kind::kUser;
  CommandLine::Option option;
  OptionList list;
  std::string id;  // kNetdev: always; else as given
  Plug plug = Plug::kOther;
  CommandLine::Option card;  // kDevice, kNetNic
  OptionList card_list;      // of kDevice, kNetNic, kNic
  std::string refusal;       // not empty: it must be left alone, and this is why

  std::string name() const;  // "-netdev user,id=n0", for sentences
};

// The user and VDE networks, in the order of the words.
std::vector<Network> networks_of(const CommandLine& command);

}  // namespace driver
