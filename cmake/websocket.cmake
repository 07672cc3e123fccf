# WebSockets, in libcasyncio-http: CASYNCIO_HAVE_WEBSOCKET, websocket_because, websocket_libraries. wslay for frames, zlib for
# permessage-deflate, and libcasyncio-tls for wss://.
set(websocket_libraries "")
set(CASYNCIO_WEBSOCKET_PC "")          # what the static library's users link with
set(CASYNCIO_WEBSOCKET_PC_PRIVATE "")  # the packages that it needs
set(CASYNCIO_WEBSOCKET_PC_REQUIRES "") # and those that the shared one needs, where the linker looks for it
find_path(WSLAY_INCLUDE_DIR wslay/wslay.h)
find_library(WSLAY_LIBRARY wslay)
mark_as_advanced(WSLAY_INCLUDE_DIR WSLAY_LIBRARY)
find_package(ZLIB QUIET)
if(NOT CASYNCIO_HAVE_HTTP_SERVER)
    casyncio_decide(websocket OFF "" "it needs the HTTP server")
elseif(NOT CASYNCIO_HAVE_TLS)
    casyncio_decide(websocket OFF "" "it needs libcasyncio-tls")
elseif(NOT WSLAY_INCLUDE_DIR OR NOT WSLAY_LIBRARY)
    casyncio_decide(websocket OFF "" "wslay was not found (Debian: libwslay-dev)")
else()
    casyncio_decide(websocket "${ZLIB_FOUND}" "wslay, zlib ${ZLIB_VERSION_STRING}" "zlib was not found (Debian: zlib1g-dev)")
endif()
if(CASYNCIO_HAVE_WEBSOCKET)
    set(websocket_libraries "${WSLAY_LIBRARY}" ZLIB::ZLIB OpenSSL::Crypto)
    set(CASYNCIO_WEBSOCKET_PC " -lwslay")
    set(CASYNCIO_WEBSOCKET_PC_PRIVATE " zlib")
    set(CASYNCIO_WEBSOCKET_PC_REQUIRES ", casyncio-tls = ${PROJECT_VERSION}")
endif()
