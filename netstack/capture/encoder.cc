#include "netstack/capture/encoder.h"

#include "netstack/capture/pcap_encoder.h"
#include "netstack/capture/pcapng_encoder.h"
#include "netstack/frame/frame.h"

namespace netstack {

static_assert(kSnapBytes >= kFrameBytesMax, "no frame is cut to fit the file");

std::unique_ptr<Encoder> make_encoder(std::string_view path, const InterfaceTable& interfaces,
                                      std::string_view application, uint32_t snap_bytes) {
  if (path.ends_with(".pcapng") || path.ends_with(".ntar")) {
    return std::make_unique<PcapngEncoder>(interfaces, application, snap_bytes);
  }
  return std::make_unique<PcapEncoder>(snap_bytes);
}

}  // namespace netstack
