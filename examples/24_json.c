/* JSON, by a library of JSON (Jansson): both ends of a small service, in one program. What a library like
 * that needs is a buffer and a length, so two functions of a few lines are all there is between it and HTTP.
 * aiohttp: response.json(), web.json_response */
#include <casyncio.h>
#include <casyncio/http.h>
#include <casyncio/http_server.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the two functions ---- */

/* The body as JSON: NULL, and the error is raised, if it is none or cannot be read. To be given back by
 * json_decref. */
static json_t *response_json(async_http_response *response)
{
    size_t size;
    json_error_t error;
    const char *type = async_http_header(response, "Content-Type");
    const void *body = async_http_read(response, &size);

    if (!body) return NULL;
    if (!type || strncmp(type, "application/json", 16) != 0) {
        async_raise(-EBADMSG, "the answer is %s and not JSON", type ? type : "of no type");
        return NULL;
    }
    json_t *json = json_loadb(body, size, 0, &error);
    if (!json) async_raise(-EBADMSG, "JSON, line %d: %s", error.line, error.text);
    return json;
}

/* Takes the reference. */
static int respond_json(struct async_http_request *request, int status, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) return async_raise(-ENOMEM, "no memory for JSON");
    int code = async_http_respond(request, status, "application/json", text, strlen(text));
    free(text);
    return code;
}

/* ---- the service ---- */

struct shop {
    json_t *orders; /* an array */
};

static int add_order(struct async_http_request *request, void *data)
{
    struct shop *shop = data;
    json_error_t error;
    const char *item;
    int count;
    size_t size;
    const void *body = async_http_request_read(request, &size);
    if (!body) return async_error_code();

    json_t *order = json_loadb(body, size, JSON_REJECT_DUPLICATES, &error);
    if (!order || json_unpack_ex(order, &error, 0, "{s:s, s:i}", "item", &item, "count", &count)) {
        json_decref(order);
        return respond_json(request, 400, json_pack("{s:s}", "error", error.text));
    }
    json_object_set_new(order, "id", json_integer((json_int_t)json_array_size(shop->orders) + 1));
    json_array_append(shop->orders, order);
    return respond_json(request, 201, order);
}

static int list_orders(struct async_http_request *request, void *data)
{
    struct shop *shop = data;
    return respond_json(request, 200, json_incref(shop->orders));
}

/* ---- a client ---- */

static int order(async_http_session *session, json_t *json)
{
    char *text = json_dumps(json, 0);
    json_decref(json);
    async_with_http_request (response, session, .url = "orders", .method = "POST", .body = text,
                             .body_size = strlen(text), .content_type = "application/json") {
        json_t *answer = response_json(response);
        if (!answer) break;
        if (async_http_status(response) == 201)
            printf("order %lld: %lld of %s\n",
                   (long long)json_integer_value(json_object_get(answer, "id")),
                   (long long)json_integer_value(json_object_get(answer, "count")),
                   json_string_value(json_object_get(answer, "item")));
        else
            printf("refused: %s\n", json_string_value(json_object_get(answer, "error")));
        json_decref(answer);
    }
    free(text);
    return async_block_error();
}

static int use_shop(async_http_session *session)
{
    int code = order(session, json_pack("{s:s, s:i}", "item", "tea", "count", 2));
    if (code == 0) code = order(session, json_pack("{s:s, s:i}", "item", "cups", "count", 6));
    if (code == 0) code = order(session, json_pack("{s:s}", "item", "nothing"));
    if (code < 0) return code;
    async_with_http_get (response, session, "orders") {
        json_t *orders = response_json(response);
        if (!orders) return async_error_code();
        printf("%zu orders\n", json_array_size(orders));
        json_decref(orders);
    }
    return async_block_error();
}

static int serve(void *server) { return async_http_serve(server); }

static int main_task(void *unused)
{
    struct shop shop = {.orders = json_array()};
    char base[64];
    int code = 0;
    (void)unused;

    async_with_http_server (server, "127.0.0.1", 0, NULL) {
        async_http_route(server, "POST", "/v1/orders", add_order, &shop);
        async_http_route(server, "GET", "/v1/orders", list_orders, &shop);
        async_task *task = async_create_task(serve, server);
        snprintf(base, sizeof base, "http://127.0.0.1:%d/v1/", async_http_server_port(server));
        async_with_http_session (session, &(async_http_session_options){.base_url = base})
            code = use_shop(session);
        async_http_shutdown(server);
        async_await(task);
    }
    json_decref(shop.orders);
    return code < 0 ? code : async_block_error();
}

int main(void) { return async_run(main_task, NULL) < 0; }
