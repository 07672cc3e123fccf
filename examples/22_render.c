/* A picture, rendered tile by tile by any number of workers, on any machine.
 * dask.distributed: client.map, as_completed
 *
 *     22_render URL work                           a worker: start as many as there are processors
 *     22_render URL FILE.png [WIDTH HEIGHT]        renders the picture
 *
 * A tile is a job that computes and does not await: so the worker runs it in a thread, and its loop goes on
 * telling the server that the job is alive. Kill a worker half-way: another one does its tiles. */
#include <casyncio.h>
#include <casyncio/cluster.h>
#include <err.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TILE = 64, STEPS = 2000 };

struct tile_in {
    int x, y, width, height; /* of the tile's corner, and of the picture */
};

struct tile_out {
    unsigned char pixels[TILE][TILE][3];
};

static void colour(double re, double im, unsigned char *pixel)
{
    double x = 0, y = 0;
    int step = 0;
    for (; step < STEPS && x * x + y * y < 16; step++) {
        double next = x * x - y * y + re;
        y = 2 * x * y + im;
        x = next;
    }
    if (step == STEPS) step = 0;
    pixel[0] = (unsigned char)(step * 9);
    pixel[1] = (unsigned char)(step * 5);
    pixel[2] = (unsigned char)(step * 3);
}

static int tile(const struct tile_in *in, struct tile_out *out)
{
    for (int y = 0; y < TILE; y++)
        for (int x = 0; x < TILE; x++)
            colour(3.2 * (in->x + x) / in->width - 2.3, 2.4 * (in->y + y) / in->height - 1.2,
                   out->pixels[y][x]);
    return 0;
}
ASYNC_JOB(tile, struct tile_in, struct tile_out)

/* ---- the picture ---- */

static const char *url, *path;
static int width = 640, height = 480;

static void copy_tile(png_byte *image, const struct tile_in *in, const struct tile_out *out)
{
    for (int y = 0; y < TILE && in->y + y < height; y++) {
        int columns = in->x + TILE <= width ? TILE : width - in->x;
        memcpy(image + ((size_t)(in->y + y) * (size_t)width + (size_t)in->x) * 3, out->pixels[y],
               (size_t)columns * 3);
    }
}

static void show(size_t done, size_t count)
{
    if (isatty(1))
        printf("\r[%-40.*s] %zu of %zu tiles%s", (int)(40 * done / count),
               "########################################", done, count, done == count ? "\n" : "");
    else if (done == count)
        printf("%zu tiles\n", count);
    fflush(stdout);
}

static int write_png(const png_byte *image)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_RGB};
    if (png_image_write_to_file(&png, path, 0, image, 0, NULL)) return 0;
    return async_raise(-EIO, "%s: %s", path, png.message);
}

static int render(void *unused)
{
    size_t columns = (size_t)(width + TILE - 1) / TILE, rows = (size_t)(height + TILE - 1) / TILE;
    size_t count = columns * rows, done_count = 0;
    struct tile_in *inputs = calloc(count, sizeof *inputs);
    struct tile_out *outputs = calloc(count, sizeof *outputs);
    png_byte *image = calloc((size_t)width * (size_t)height, 3);
    int code = inputs && outputs && image ? 0 : -ENOMEM;

    for (size_t i = 0; code == 0 && i < count; i++)
        inputs[i] =
            (struct tile_in){(int)(i % columns) * TILE, (int)(i / columns) * TILE, width, height};
    if (code == 0) {
        async_with_cluster (cluster, url, NULL) {
            async_for (async_cluster_completed, done,
                       async_cluster_as_completed(cluster, tile, inputs, outputs, count)) {
                if (done.code < 0) {
                    code = async_raise(done.code, "tile %zu: %s", done.index, done.message);
                    break;
                }
                copy_tile(image, &inputs[done.index], &outputs[done.index]);
                show(++done_count, count);
            }
        }
    }
    int failed = async_block_error();
    if (code == 0) code = failed;
    if (code == 0) code = write_png(image);
    if (code == 0) printf("%s: %d x %d\n", path, width, height);
    free(inputs);
    free(outputs);
    free(image);
    return code;
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 5)
        errx(2, "usage: 22_render URL work, or URL FILE.png [WIDTH HEIGHT]");
    url = argv[1];
    path = argv[2];
    if (strcmp(path, "work") == 0)
        return async_cluster_work(url, &((async_cluster_worker_options){.threads = true}),
                                  &tile_job);
    if (argc == 5) {
        width = atoi(argv[3]);
        height = atoi(argv[4]);
    }
    if (width < 1 || height < 1 || width > 20000 || height > 20000)
        errx(2, "no picture is that large");
    int code = async_run(render, NULL);
    if (code < 0) errx(1, "%s", async_run_error_message());
}
