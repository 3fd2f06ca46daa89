// How libmicrohttpd is used. Its epoll mode without a thread of its own: MHD_run() does what is
// ready and never waits. Its callbacks come from inside MHD_run() only.
//
// A request's handler is called at first with the head alone, then with parts of the body, then
// once more when it is whole; our Exchange collects it between the calls. A reader of events that
// has read everything is suspended and taken up again by the next event; all are taken up at the
// end, because the library refuses to stop with suspended connections. Nor does it see that one of
// them hangs up, so we look ourselves before a further reader is refused.
//
// Time. A reply of any length is made block by block, each when the one before is written, so that
// one turn of the loop makes one block for each client at most. Measured with 8 clients that ask
// for 6000 stations and all counters without a pause (release build, 2 cores, nothing else let in
// between): 26 us in the mean, 0.7 ms at most.
//
// Hostile clients. The library's own timeout sees a client that is silent, and not one that sends a
// byte now and then. So clients stand in a list from when they began to ask; whoever is in it for
// too long, or first when room is needed, is cut: its socket is shut down, which the library takes
// for the client's hanging up. (Refused: a thread for the control socket. It would need a lock
// around the switch, or a copy of all it shows.)
#include "tools/control/http_server.h"

#include <fmt/format.h>
#include <microhttpd.h>
#include <poll.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "netstack/base/error.h"
#include "tools/control/request_check.h"

namespace tools {

// One connection.
struct HttpServer::Client {
  int fd;
  uint64_t since_ns = 0;
  bool listed = false;  // in clients_: not a reader of events, not cut
  std::list<Client*>::iterator place = {};
};

// One request while it is read.
struct HttpServer::Exchange {
  std::string body;
  std::optional<ControlRefusal> refusal = {};  // then the body is read and thrown away
};

struct HttpServer::Subscriber {
  HttpServer& server;
  MHD_Connection* connection;
  EventStream::Cursor cursor;
  bool suspended = false;
  bool gone = false;  // hung up while suspended, which the library does not see
  std::list<Subscriber*>::iterator place = {};
};

namespace {

// A reply on its way, block by block.
struct Pieces {
  std::function<std::string()> next;
  std::string rest = {};
  size_t used = 0;

  static ssize_t read(void* self, uint64_t /*offset*/, char* out, size_t size) {
    auto& pieces = *static_cast<Pieces*>(self);
    size = std::min(size, kControlBlock_size);  // the library would fill its whole buffer
    size_t given = 0;
    while (given < size) {
      if (pieces.used == pieces.rest.size()) {
        pieces.rest = pieces.next();
        pieces.used = 0;
        if (pieces.rest.empty()) break;
      }
      const size_t part = std::min(size - given, pieces.rest.size() - pieces.used);
      std::memcpy(out + given, pieces.rest.data() + pieces.used, part);
      given += part;
      pieces.used += part;
      if (pieces.rest == kBlankPiece) break;
    }
    return given > 0 ? static_cast<ssize_t>(given) : MHD_CONTENT_READER_END_OF_STREAM;
  }
  static void forget(void* self) { delete static_cast<Pieces*>(self); }
};

MHD_Response* response_of(ControlReply& reply) {
  if (reply.pieces) {
    return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, kControlBlock_size, Pieces::read,
                                             new Pieces{std::move(reply.pieces)}, Pieces::forget);
  }
  const std::string text =
      reply.text ? *reply.text
                 : reply.json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  return MHD_create_response_from_buffer(text.size(), const_cast<char*>(text.data()),
                                         MHD_RESPMEM_MUST_COPY);
}

MHD_Result put(MHD_Connection* connection, ControlReply reply, bool hangs_up) {
  const char* type = reply.pieces ? reply.pieces_type
                     : reply.text ? "text/plain; charset=utf-8"
                                  : "application/json";
  MHD_Response* response = response_of(reply);
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
  if (hangs_up) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  const MHD_Result result =
      MHD_queue_response(connection, static_cast<unsigned>(reply.status), response);
  MHD_destroy_response(response);
  return result;
}

MHD_Result take_query(void* request, MHD_ValueKind /*kind*/, const char* name, const char* value) {
  auto& taken = *static_cast<ControlRequest*>(request);
  const bool is_new = taken.query.try_emplace(name, value != nullptr ? value : "").second;
  if (!is_new) taken.repeated.emplace(name);
  return MHD_YES;
}

ControlRefusal too_long(const char* method, const char* path) {
  return {MHD_HTTP_CONTENT_TOO_LARGE,
          fmt::format("cannot {} {}: the body is longer than {} bytes; send less", method, path,
                      kControlBody_size)};
}

std::string header_of(MHD_Connection* connection, const char* name) {
  const char* value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
  return value != nullptr ? value : "";
}

// The library says that it is a number.
uint64_t announced_size(MHD_Connection* connection) {
  const std::string length = header_of(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
  return std::strtoull(length.c_str(), nullptr, 10);
}

std::optional<ControlRefusal> refuse_coding(MHD_Connection* connection, const char* method,
                                            const char* path) {
  const std::string coding = header_of(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING);
  if (coding.empty() || ::strcasecmp(coding.c_str(), "chunked") == 0) return std::nullopt;
  return ControlRefusal(MHD_HTTP_NOT_IMPLEMENTED,
                        fmt::format("cannot {} {}: a body in the transfer coding \"{}\" is not "
                                    "read here; send it plain, with Content-Length",
                                    method, path, coding));
}

// In the middle of a body the library takes no answer, so it is written past it.
void answer_at_once(int fd, const ControlReply& reply) {
  const std::string body = reply.json.dump() + '\n';
  const std::string text = fmt::format(
      "HTTP/1.1 {} Content Too Large\r\nConnection: close\r\nContent-Type: application/json\r\n"
      "Content-Length: {}\r\n\r\n{}",
      reply.status, body.size(), body);
  // A client that does not take it loses its connection all the same.
  ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// The body as JSON, discarded when it is none; throws where a member is given twice, of which the
// library takes one.
nlohmann::json json_of(const ControlRequest& request, const std::string& body) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> open;  // the members so far of each object within
  std::optional<std::string> twice;
  const auto watch = [&](int /*depth*/, Event event, const nlohmann::json& value) {
    if (event == Event::object_start) open.emplace_back();
    if (event == Event::object_end) open.pop_back();
    if (event != Event::key) return true;
    const auto name = value.get<std::string>();
    if (!open.back().insert(name).second) twice = name;
    return true;
  };
  nlohmann::json parsed = nlohmann::json::parse(body, watch, false);
  if (!twice || parsed.is_discarded()) return parsed;
  throw ControlRefusal(400, fmt::format("cannot {} {}: the body has \"{}\" more than once; give "
                                        "it once",
                                        request.method, request.path, *twice));
}

std::vector<std::string> words_of(std::string_view list) {
  std::vector<std::string> words;
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    if (end > 0) words.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return words;
}

}  // namespace

struct HttpServer::Calls {
  // --- connections ---

  static void notice(void* self, MHD_Connection* connection, void** slot,
                     MHD_ConnectionNotificationCode code) {
    auto& server = *static_cast<HttpServer*>(self);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
      const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
      auto* client = new Client{info->connect_fd};
      *slot = client;
      ++server.client_count_;
      ++server.counters_.connections;
      list(server, *client);
      server.make_room();
    } else {
      auto* client = static_cast<Client*>(std::exchange(*slot, nullptr));
      strike(server, *client);
      --server.client_count_;
      delete client;
    }
  }

  static Client& client_of(MHD_Connection* connection) {
    const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return *static_cast<Client*>(info->socket_context);
  }
  static void list(HttpServer& server, Client& client) {
    client.since_ns = server.loop_.clock().monotonic_ns();
    client.place = server.clients_.insert(server.clients_.end(), &client);
    client.listed = true;
  }
  static void strike(HttpServer& server, Client& client) {
    if (std::exchange(client.listed, false)) server.clients_.erase(client.place);
  }

  // --- requests ---

  static MHD_Result handle(void* self, MHD_Connection* connection, const char* path,
                           const char* method, const char* /*version*/, const char* part,
                           size_t* part_size, void** slot) {
    auto& server = *static_cast<HttpServer*>(self);
    if (*slot == nullptr) {
      auto* exchange = new Exchange;
      *slot = exchange;
      const uint64_t size = announced_size(connection);
      exchange->refusal = refuse_coding(connection, method, path);
      const bool hangs_up = exchange->refusal || size > kControlRefused_size;
      if (size > kControlBody_size) exchange->refusal = too_long(method, path);
      return hangs_up ? put(server, connection, exchange->refusal->reply(), true) : MHD_YES;
    }
    auto& exchange = *static_cast<Exchange*>(*slot);
    if (*part_size > 0 && exchange.refusal) {
      *part_size = 0;
      return MHD_YES;
    }
    if (exchange.refusal) return put(server, connection, exchange.refusal->reply());
    if (*part_size > 0) {
      if (exchange.body.size() + *part_size > kControlBody_size) {
        count(server, MHD_HTTP_CONTENT_TOO_LARGE);
        answer_at_once(client_of(connection).fd, too_long(method, path).reply());
        return MHD_NO;
      }
      exchange.body.append(part, *part_size);
      *part_size = 0;
      return MHD_YES;
    }
    ControlRequest request{.method = method, .path = path};
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_query, &request);
    if (request.method == "HEAD") request.method = "GET";  // the library leaves the body out
    if (request.method == "GET" && request.path == "/events") {
      if (auto refusal = refuse_reader(server, request)) {
        return put(server, connection, std::move(*refusal));
      }
      return subscribe(server, connection, request);
    }
    return put(server, connection, answer(server, std::move(request), exchange));
  }

  static MHD_Result put(HttpServer& server, MHD_Connection* connection, ControlReply reply,
                        bool hangs_up = false) {
    count(server, reply.status);
    return tools::put(connection, std::move(reply), hangs_up);
  }

  static void count(HttpServer& server, int status) {
    ++server.counters_.requests;
    server.counters_.refused += status >= 400 ? 1 : 0;
  }

  static std::optional<ControlReply> refuse_reader(HttpServer& server,
                                                   const ControlRequest& request) {
    try {
      refuse_undescribed(request, request.path);
    } catch (const ControlRefusal& refusal) {
      return refusal.reply();
    }
    if (server.count_readers() < server.limits_.reader_count_max) return std::nullopt;
    ++server.counters_.readers_refused;
    return ControlRefusal(503, fmt::format("cannot GET /events: {} clients read events already; "
                                           "end one of them",
                                           server.limits_.reader_count_max))
        .reply();
  }

  static ControlReply answer(HttpServer& server, ControlRequest request, const Exchange& exchange) {
    if (!exchange.body.empty()) {
      try {
        request.body = json_of(request, exchange.body);
      } catch (const ControlRefusal& refusal) {
        return refusal.reply();
      }
      if (!request.body.is_object()) {
        return ControlRefusal(400, fmt::format("cannot {} {}: the body is no JSON object; send one",
                                               request.method, request.path))
            .reply();
      }
    }
    return server.router_.answer(std::move(request));
  }

  static void forget(void* self, MHD_Connection* connection, void** slot,
                     MHD_RequestTerminationCode how) {
    auto& server = *static_cast<HttpServer*>(self);
    delete static_cast<Exchange*>(std::exchange(*slot, nullptr));
    Client& client = client_of(connection);
    if (how == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED) {
      ++(client.listed ? server.counters_.slow_cut : server.counters_.readers_cut);
    }
    if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK || !client.listed) return;
    strike(server, client);
    list(server, client);
  }

  // --- events ---

  static MHD_Result subscribe(HttpServer& server, MHD_Connection* connection,
                              const ControlRequest& request) {
    const auto from = request.query.find("from");
    const auto kind = request.query.find("kind");
    const bool from_oldest = from != request.query.end() && from->second == "oldest";
    std::vector<std::string> kinds;
    if (kind != request.query.end()) kinds = words_of(kind->second);
    auto* subscriber = new Subscriber{
        server, connection, EventStream::Cursor(server.events_, from_oldest, std::move(kinds))};
    subscriber->place = server.subscribers_.insert(server.subscribers_.end(), subscriber);
    strike(server, client_of(connection));
    ++server.counters_.requests;
    MHD_Response* response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, kControlBlock_size, read_events, subscriber, unsubscribe);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/x-ndjson");
    const MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
  }

  static ssize_t read_events(void* self, uint64_t /*offset*/, char* out, size_t size) {
    auto& subscriber = *static_cast<Subscriber*>(self);
    if (subscriber.gone) return MHD_CONTENT_READER_END_WITH_ERROR;
    const size_t given = subscriber.cursor.read(out, std::min(size, kControlBlock_size));
    if (given > 0) return static_cast<ssize_t>(given);
    if (subscriber.server.ending_) return MHD_CONTENT_READER_END_OF_STREAM;
    subscriber.suspended = true;
    MHD_suspend_connection(subscriber.connection);
    return 0;
  }

  static void unsubscribe(void* self) {
    auto* subscriber = static_cast<Subscriber*>(self);
    subscriber->server.subscribers_.erase(subscriber->place);
    delete subscriber;
  }
};

HttpServer::HttpServer(netstack::Loop& loop, netstack::UnixListener listener, const Router& router,
                       EventStream& events, ControlCounters& counters, const HttpLimits& limits)
    : loop_(loop),
      router_(router),
      events_(events),
      counters_(counters),
      limits_(limits),
      file_(std::move(listener.file)) {
  // The library closes the descriptor at its end.
  const int fd = listener.fd.release();
  daemon_ = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr, Calls::handle, this,
      MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, limits_.connection_count_max,
      MHD_OPTION_CONNECTION_TIMEOUT, limits_.idle_s_max, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      kControlMemory_size, MHD_OPTION_NOTIFY_COMPLETED, Calls::forget, this,
      MHD_OPTION_NOTIFY_CONNECTION, Calls::notice, this, MHD_OPTION_END);
  if (daemon_ == nullptr) {
    ::close(fd);
    throw netstack::Error(EX_OSERR, fmt::format("cannot serve {}: libmicrohttpd does not start; "
                                                "raise the limit of open files",
                                                file_.path()));
  }
  const MHD_DaemonInfo* info = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_EPOLL_FD);
  ready_ = std::make_unique<netstack::WatchedFd>(loop_, netstack::Fd(::dup(info->epoll_fd)),
                                                 EPOLLIN, [this](uint32_t) { run_after(0); });
  events_.watch([this] { run_after(0); });
}

HttpServer::~HttpServer() {
  events_.watch({});
  ending_ = true;
  wake_subscribers();
  MHD_run(daemon_);  // those who read get what there is, and the end
  MHD_stop_daemon(daemon_);
  if (timer_ != 0) loop_.cancel(timer_);
}

// Always by a timer: timers come after the descriptors of a tick, so frames are first.
void HttpServer::run_after(uint64_t delay_ns) {
  if (timer_ != 0) loop_.cancel(timer_);
  timer_ = loop_.after(delay_ns, [this] { run(); });
}

void HttpServer::run() {
  timer_ = 0;
  const uint64_t began_ns = loop_.clock().monotonic_ns();
  wake_subscribers();
  cut_slow_clients();
  MHD_run(daemon_);
  MHD_UNSIGNED_LONG_LONG wait_ms = 0;
  if (MHD_get_timeout(daemon_, &wait_ms) == MHD_YES) run_after(wait_ms * netstack::kMillisecond_ns);
  const uint64_t busy_ns = loop_.clock().monotonic_ns() - began_ns;
  ++counters_.turns;
  counters_.busy_ns += busy_ns;
  counters_.busy_ns_max = std::max(counters_.busy_ns_max, busy_ns);
}

void HttpServer::wake_subscribers() {
  for (Subscriber* each : subscribers_) {
    if (std::exchange(each->suspended, false)) MHD_resume_connection(each->connection);
  }
}

// Those that are still there; the others are let go.
unsigned HttpServer::count_readers() {
  unsigned count = 0;
  for (Subscriber* each : subscribers_) {
    pollfd ended{Calls::client_of(each->connection).fd, 0, 0};
    if (!each->gone && ::poll(&ended, 1, 0) == 0) {
      ++count;
      continue;
    }
    each->gone = true;
    if (std::exchange(each->suspended, false)) MHD_resume_connection(each->connection);
  }
  return count;
}

void HttpServer::cut_slow_clients() {
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  while (!clients_.empty() && now_ns - clients_.front()->since_ns > limits_.exchange_ns_max) {
    ++counters_.slow_cut;
    ::shutdown(clients_.front()->fd, SHUT_RDWR);
    Calls::strike(*this, *clients_.front());
  }
}

void HttpServer::make_room() {
  if (client_count_ + limits_.spare_count_min <= limits_.connection_count_max) return;
  if (clients_.size() < 2) return;  // the one that came
  ++counters_.gave_way;
  ::shutdown(clients_.front()->fd, SHUT_RDWR);
  Calls::strike(*this, *clients_.front());
}

}  // namespace tools
