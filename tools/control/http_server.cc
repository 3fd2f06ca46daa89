// How libmicrohttpd is used. Its epoll mode without a thread of its own: MHD_run() does what is
// ready and never waits. Its callbacks come from inside MHD_run() only.
//
// A request's handler is called at first with the head alone, then with parts of the body, then
// once more when it is whole; our Exchange collects it between the calls. A reader of events that
// has read everything is suspended and taken up again by the next event; all are taken up at the
// end, because the library refuses to stop with suspended connections.
#include "tools/control/http_server.h"

#include <fmt/format.h>
#include <microhttpd.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "netstack/base/error.h"

namespace tools {

// One request while it is read.
struct HttpServer::Exchange {
  std::string body;
  bool too_long = false;
};

struct HttpServer::Subscriber {
  HttpServer& server;
  MHD_Connection* connection;
  EventStream::Cursor cursor;
  bool suspended = false;
  Subscriber* previous = nullptr;
  Subscriber* next = nullptr;
};

namespace {

MHD_Response* response_of(const ControlReply& reply) {
  const std::string text =
      reply.text ? *reply.text
                 : reply.json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  MHD_Response* response = MHD_create_response_from_buffer(
      text.size(), const_cast<char*>(text.data()), MHD_RESPMEM_MUST_COPY);
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                          reply.text ? "text/plain; charset=utf-8" : "application/json");
  return response;
}

MHD_Result put(MHD_Connection* connection, const ControlReply& reply) {
  MHD_Response* response = response_of(reply);
  const MHD_Result result =
      MHD_queue_response(connection, static_cast<unsigned>(reply.status), response);
  MHD_destroy_response(response);
  return result;
}

}  // namespace

struct HttpServer::Calls {
  static MHD_Result handle(void* self, MHD_Connection* connection, const char* path,
                           const char* method, const char* /*version*/, const char* part,
                           size_t* part_size, void** slot) {
    auto& server = *static_cast<HttpServer*>(self);
    if (*slot == nullptr) {
      *slot = new Exchange;
      return MHD_YES;
    }
    auto& exchange = *static_cast<Exchange*>(*slot);
    if (*part_size > 0) {
      exchange.too_long |= exchange.body.size() + *part_size > kControlBody_size;
      if (!exchange.too_long) exchange.body.append(part, *part_size);
      *part_size = 0;
      return MHD_YES;
    }
    if (exchange.too_long) {
      const auto line = fmt::format("cannot {} {}: the body is longer than {} bytes; send less",
                                    method, path, kControlBody_size);
      return put(connection, ControlRefusal(413, line).reply());
    }
    if (std::string_view(method) == "GET" && std::string_view(path) == "/events") {
      return subscribe(server, connection);
    }
    return put(connection, answer(server, method, path, exchange.body));
  }

  static ControlReply answer(HttpServer& server, const char* method, const char* path,
                             const std::string& body) {
    ControlRequest request{.method = method, .path = path};
    if (!body.empty()) {
      request.body = nlohmann::json::parse(body, nullptr, false);
      if (!request.body.is_object()) {
        const auto line =
            fmt::format("cannot {} {}: the body is no JSON object; send one", method, path);
        return ControlRefusal(400, line).reply();
      }
    }
    return server.router_.answer(std::move(request));
  }

  static void forget(void* /*self*/, MHD_Connection* /*connection*/, void** slot,
                     MHD_RequestTerminationCode /*how*/) {
    delete static_cast<Exchange*>(std::exchange(*slot, nullptr));
  }

  static MHD_Result subscribe(HttpServer& server, MHD_Connection* connection) {
    const char* from = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "from");
    const bool from_oldest = from != nullptr && std::string_view(from) == "oldest";
    auto* subscriber =
        new Subscriber{server, connection, EventStream::Cursor(server.events_, from_oldest)};
    subscriber->next = server.subscribers_;
    if (subscriber->next != nullptr) subscriber->next->previous = subscriber;
    server.subscribers_ = subscriber;
    MHD_Response* response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, kEventBlock_size, read_events, subscriber, unsubscribe);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/x-ndjson");
    const MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
  }

  static ssize_t read_events(void* self, uint64_t /*offset*/, char* out, size_t size) {
    auto& subscriber = *static_cast<Subscriber*>(self);
    const size_t given = subscriber.cursor.read(out, size);
    if (given > 0) return static_cast<ssize_t>(given);
    if (subscriber.server.ending_) return MHD_CONTENT_READER_END_OF_STREAM;
    subscriber.suspended = true;
    MHD_suspend_connection(subscriber.connection);
    return 0;
  }

  static void unsubscribe(void* self) {
    auto* subscriber = static_cast<Subscriber*>(self);
    if (subscriber->next != nullptr) subscriber->next->previous = subscriber->previous;
    if (subscriber->previous != nullptr) {
      subscriber->previous->next = subscriber->next;
    } else {
      subscriber->server.subscribers_ = subscriber->next;
    }
    delete subscriber;
  }
};

HttpServer::HttpServer(netstack::Loop& loop, netstack::UnixListener listener, const Router& router,
                       EventStream& events)
    : loop_(loop), router_(router), events_(events), file_(std::move(listener.file)) {
  // The library closes the descriptor at its end.
  const int fd = listener.fd.release();
  daemon_ = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr, Calls::handle, this,
      MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, kControlConnections_count,
      MHD_OPTION_CONNECTION_TIMEOUT, kControlIdle_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      kControlMemory_size, MHD_OPTION_NOTIFY_COMPLETED, Calls::forget, nullptr, MHD_OPTION_END);
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
  wake_subscribers();
  MHD_run(daemon_);
  MHD_UNSIGNED_LONG_LONG wait_ms = 0;
  if (MHD_get_timeout(daemon_, &wait_ms) == MHD_YES) run_after(wait_ms * netstack::kMillisecond_ns);
}

void HttpServer::wake_subscribers() {
  for (Subscriber* each = subscribers_; each != nullptr; each = each->next) {
    if (std::exchange(each->suspended, false)) MHD_resume_connection(each->connection);
  }
}

}  // namespace tools
