/* routes.c - what answers a request: patterns, methods, middlewares.
 *
 * The patterns are a tree of their segments. A path is compared segment by segment, each decoded by
 * itself, so that an encoded "/" never divides; the depth in the tree is that in the path, so that no
 * node is looked at twice. */
#include "server_internal.h"

#include <stdio.h>

#define SEGMENTS 64 /* of a path; a longer one is answered with 404 */

enum kind { FIXED, PARAM, REST };

struct async__http_node {
    struct async__http_node *next, *children; /* FIXED before PARAM before REST */
    struct async__http_route *routes;
    enum kind kind;
    char segment[];
};

static int fail(int code)
{
    async_block_fail(code);
    return code;
}

/* ---- adding ---- */

/* A segment of a pattern: its kind, and the name or the text in it; false: it is malformed. */
static bool read_segment(const char *text, size_t size, enum kind *kind, const char **name,
                         size_t *length)
{
    *kind = FIXED;
    *name = text;
    *length = size;
    if (size == 0 || text[0] != '{') return !memchr(text, '{', size) && !memchr(text, '}', size);
    if (text[size - 1] != '}') return false;
    *kind = PARAM;
    *name = text + 1;
    *length = size - 2;
    if (*length > 3 && memcmp(text + size - 4, "...", 3) == 0) {
        *kind = REST;
        *length -= 3;
    }
    for (size_t i = 0; i < *length; i++)
        if (strchr("{}.", (*name)[i])) return false;
    return *length > 0;
}

/* The child that is so, made if there is none; NULL: no memory. */
static struct async__http_node *child(struct async__http_node *node, enum kind kind,
                                      const char *text, size_t size)
{
    struct async__http_node **link = &node->children;

    if (kind != FIXED) size = 0;
    for (; *link && (*link)->kind <= kind; link = &(*link)->next)
        if ((*link)->kind == kind && strlen((*link)->segment) == size &&
            memcmp((*link)->segment, text, size) == 0)
            return *link;
    struct async__http_node *fresh = async__alloc_zeroed(sizeof *fresh + size + 1);
    if (!fresh) return NULL;
    fresh->kind = kind;
    memcpy(fresh->segment, text, size);
    fresh->next = *link;
    *link = fresh;
    return fresh;
}

static int bad_pattern(const char *pattern)
{
    return fail(
        async_raise_at(NULL, 0, NULL, -EINVAL, "the route's pattern is malformed: %s", pattern));
}

static int no_memory(void)
{
    return fail(async_raise_at(NULL, 0, NULL, -ENOMEM, "no memory for a route"));
}

/* Goes down the tree by a pattern, and gathers the names of its parameters. */
static int descend(async_http_server *server, const char *pattern, struct async__http_node **at,
                   char *names, struct async__http_route *route)
{
    if (!server->root) server->root = async__alloc_zeroed(sizeof *server->root + 1);
    if (!server->root) return no_memory();
    *at = server->root;
    for (const char *text = pattern; *text == '/';) {
        size_t size = strcspn(++text, "/"), length;
        enum kind kind;
        const char *name;
        if (!read_segment(text, size, &kind, &name, &length)) return bad_pattern(pattern);
        if (kind == REST && text[size]) return bad_pattern(pattern);
        route->rest = kind == REST;
        if (kind != FIXED) {
            if (++route->param_count > ASYNC__HTTP_PARAMS) return bad_pattern(pattern);
            memcpy(names, name, length);
            names[length] = '\0';
            names += length + 1;
        }
        *at = child(*at, kind, name, length);
        if (!*at) return no_memory();
        text += size;
    }
    return 0;
}

static bool same_method(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

int async__http_route(async_http_server *server, const char *method, const char *pattern,
                      async__http_handler *handler, void *data)
{
    struct async__http_node *node = NULL;

    if (!server) return fail(async__http_raise_null("server"));
    if (!handler || !pattern || pattern[0] != '/' || (method && !async__http_is_token(method)))
        return fail(
            async_raise_at(NULL, 0, NULL, -EINVAL,
                           "a route has no handler, a pattern that does not begin with \"/\","
                           " or a malformed method"));
    /* One allocation: the route, its method, the names of its parameters. */
    size_t size = sizeof(struct async__http_route), names = strlen(pattern) + 1;
    struct async__http_route *route =
        async__alloc_zeroed(size + names + (method ? strlen(method) + 1 : 0));
    if (!route) return no_memory();
    route->params = (char *)(route + 1);
    int code = descend(server, pattern, &node, route->params, route);
    for (struct async__http_route *other = code == 0 && node ? node->routes : NULL; other;
         other = other->next)
        if (same_method(other->method, method)) code = -EEXIST;
    if (code == -EEXIST)
        fail(async_raise_at(NULL, 0, NULL, code, "there is a route for %s %s already",
                            method ? method : "any method of", pattern));
    if (code < 0 || !node) {
        async__free(route);
        return code;
    }
    if (method) route->method = strcpy(route->params + names, method);
    route->handler = handler;
    route->data = data;
    route->next = node->routes;
    node->routes = route;
    return 0;
}

int async__http_use(async_http_server *server, async__http_handler *middleware, void *data)
{
    if (!server || !middleware) return fail(async__http_raise_null("server or the middleware"));
    struct async__http_middleware *more = async__realloc(
        server->middlewares, (server->middleware_count + 1) * sizeof *server->middlewares);
    if (!more) return no_memory();
    server->middlewares = more;
    more[server->middleware_count++] =
        (struct async__http_middleware){.handler = middleware, .data = data};
    return 0;
}

static void free_node(struct async__http_node *node)
{
    while (node) {
        struct async__http_node *next = node->next;
        while (node->routes) {
            struct async__http_route *route = node->routes;
            node->routes = route->next;
            async__free(route);
        }
        free_node(node->children);
        async__free(node);
        node = next;
    }
}

void async__http_routes_free(async_http_server *server)
{
    free_node(server->root);
    async__free(server->middlewares);
}

/* ---- finding ---- */

struct path {
    uint32_t segments[SEGMENTS]; /* where they begin in the target, and decoded in the copy */
    int count;
    char *copy;
    const char *target;
    size_t size; /* of the path in the target */
    const char *method;
    int at_param; /* how many segments stand for parameters on the way to the node */
    int params[ASYNC__HTTP_PARAMS];
    char *allow; /* the methods that there are, where no route was found */
    size_t allow_size;
};

/* Where the path begins in a target, which may be "http://host/path". */
static const char *path_of(const char *target)
{
    if (*target == '/' || *target == '*') return target;
    const char *host = strstr(target, "//");
    return host ? host + 2 + strcspn(host + 2, "/?") : target;
}

/* Divides the path: 1; 0: it has too many segments; or a code. The head has been judged: its %-coding
 * is in order. */
static int divide(struct async_http_request *request, struct path *path)
{
    path->target = path_of(request->head.target);
    path->size = strcspn(path->target, "?");
    char *copy = path->copy = async__http_request_alloc(request, path->size + 2);
    if (!copy) return -ENOMEM;
    memcpy(copy, path->target, path->size);
    copy[path->size] = '\0';
    size_t at = *copy == '/';
    for (;;) {
        size_t size = strcspn(copy + at, "/");
        bool last = at + size == path->size || path->size == 0;
        if (path->count == SEGMENTS) return 0;
        path->segments[path->count++] = (uint32_t)at; /* max_head is an int */
        copy[at + size] = '\0';
        ssize_t decoded = async__http_decode_url(copy + at, size, false);
        if (decoded < 0) return 0;
        copy[at + (size_t)decoded] = '\0';
        if (last) return 1;
        at += size + 1;
    }
}

static const struct async__http_route *by_method(const struct async__http_node *node,
                                                 const char *method)
{
    const struct async__http_route *any = NULL, *get = NULL;

    for (const struct async__http_route *route = node->routes; route; route = route->next) {
        if (!route->method)
            any = route;
        else if (strcmp(route->method, method) == 0)
            return route;
        else if (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0)
            get = route;
    }
    return get ? get : any;
}

static bool list_has(const char *list, const char *method)
{
    size_t size = strlen(method);

    for (const char *at = list; (at = strstr(at, method)); at += size)
        if ((at == list || at[-1] == ' ') && (!at[size] || at[size] == ',')) return true;
    return false;
}

static void add_method(struct path *path, const char *method)
{
    size_t used = strlen(path->allow), need = strlen(method) + 3;

    if (list_has(path->allow, method) || used + need > path->allow_size) return;
    snprintf(path->allow + used, path->allow_size - used, "%s%s", used ? ", " : "", method);
}

static void add_methods(struct path *path, const struct async__http_node *node)
{
    for (const struct async__http_route *route = node->routes; route; route = route->next) {
        if (!route->method) continue;
        add_method(path, route->method);
        if (strcmp(route->method, "GET") == 0) add_method(path, "HEAD");
    }
}

/* The first node below this one that the rest of the path leads to and that has a route for the
 * method. If `allow` is there, all nodes are looked at for the methods that they have. */
static const struct async__http_route *match(struct path *path, const struct async__http_node *node,
                                             int at)
{
    const struct async__http_route *route = NULL;
    int params = path->at_param;

    if (at == path->count || node->kind == REST) {
        if (path->allow)
            add_methods(path, node);
        else
            route = by_method(node, path->method);
        return route;
    }
    const char *segment = path->copy + path->segments[at];
    for (const struct async__http_node *next = node->children; next && !route; next = next->next) {
        if (next->kind == FIXED ? strcmp(next->segment, segment) != 0
                                : next->kind == PARAM && !*segment)
            continue;
        path->at_param = params;
        if (next->kind != FIXED) path->params[path->at_param++] = at;
        route = match(path, next, at + 1);
    }
    if (!route) path->at_param = params;
    return route;
}

static int set_params(struct async_http_request *request, const struct path *path)
{
    const struct async__http_route *route = request->route;
    const char *name = route->params;

    for (int i = 0; i < route->param_count; i++, name += strlen(name) + 1) {
        int at = path->params[i];
        char *value = path->copy + path->segments[at];
        if (route->rest && i == route->param_count - 1) {
            size_t raw = path->segments[at], size = path->size - raw;
            char *rest = async__http_request_alloc(request, size + 1);
            if (!rest) return -ENOMEM;
            memcpy(rest, path->target + raw, size);
            rest[async__http_decode_url(rest, size, false)] = '\0';
            value = rest;
        }
        request->params[request->param_count++] =
            (struct async__http_pair){.name = name, .value = value};
    }
    return 0;
}

/* ---- running ---- */

/* A handler of one parameter is called with two, which clang's -fsanitize=function has to be told. */
#ifdef __clang__
__attribute__((no_sanitize("function", "cfi-icall")))
#endif
int async__http_call(async__http_handler *handler, struct async_http_request *request, void *data)
{
    int code = handler(request, data), pending = async_block_error();
    return code >= 0 && pending < 0 ? pending : code;
}

static int answer_without_route(struct async_http_request *request, struct path *path)
{
    char allow[512] = "";
    bool options = strcmp(request->head.method, "OPTIONS") == 0;

    path->allow = allow;
    path->allow_size = sizeof allow;
    path->at_param = 0;
    if (request->server->root) match(path, request->server->root, 0);
    if (*allow) add_method(path, "OPTIONS");
    path->allow = NULL;
    if (!*allow) return async__http_respond_status(request, 404);
    int code = async_http_set_header(request, "Allow", allow);
    if (code < 0) return code;
    return options ? async_http_respond(request, 204, NULL, NULL, 0)
                   : async__http_respond_status(request, 405);
}

static int run_route(struct async_http_request *request)
{
    struct path path; /* of its segments as many are set as there are */

    memset(path.params, 0, sizeof path.params);
    path.count = path.at_param = 0;
    path.method = request->head.method;
    path.allow = NULL;
    if (strcmp(request->path, "*") == 0) return async_http_respond(request, 204, NULL, NULL, 0);
    int code = divide(request, &path);

    if (code < 0) return code;
    if (code == 0) return async__http_respond_status(request, 404);
    if (request->server->root) request->route = match(&path, request->server->root, 0);
    if (!request->route) return answer_without_route(request, &path);
    code = set_params(request, &path);
    if (code < 0) return code;
    return async__http_call(request->route->handler, request, request->route->data);
}

int async_http_next(struct async_http_request *request)
{
    if (!request) return async__http_raise_null("request");
    const async_http_server *server = request->server;
    if (request->next_handler < server->middleware_count) {
        const struct async__http_middleware *next = &server->middlewares[request->next_handler++];
        return async__http_call(next->handler, request, next->data);
    }
    if (request->next_handler++ > server->middleware_count)
        return async_raise_at(NULL, 0, NULL, -EALREADY, "the handler has been run already");
    return run_route(request);
}
