// The machine's practical limit: ensembles of gradient flows by hand-written AVX-512 lanes.
//
// Tsit5 with diffrax's error test and step factors, eight trajectories side by side in each 512-bit register (component
// first, lane last), a finished lane written out and refilled from a queue at once, and the step capped at c / rho with
// rho = |k7 - k6| / |u7 - u6|. Problems of few components keep a whole step in registers and several blocks in flight;
// larger ones keep the ten arrays of one block in the first-level cache. Norms, the fifth root and the cap use 14-bit
// reciprocals and short polynomials: they choose the step size and need no digits; the states are exact doubles.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

using V = __m512d;
using Mask = __mmask8;
constexpr int LANES = 8;
#define INLINE inline __attribute__((always_inline))

static INLINE V set(double x) { return _mm512_set1_pd(x); }
static INLINE V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
static INLINE V blend(Mask m, V no, V yes) { return _mm512_mask_blend_pd(m, no, yes); }

// Tsitouras 5(4): A21 .. A76 make the stages, E1 .. E7 the difference to the embedded method.
constexpr double A21 = 161.0 / 1000;
constexpr double A31 = -0.8480655492356988544426874250230774675121e-2, A32 = 0.3354806554923569885444268742502307746751;
constexpr double A41 = 2.897153057105493432130432594192938764925, A42 = -6.359448489975074843148159912383825625953,
                 A43 = 4.362295432869581411017727318190886861028;
constexpr double A51 = 5.325864828439256604428877920840511317836, A52 = -11.74888356406282787774717033978577296189,
                 A53 = 7.495539342889836208304604784564358155658, A54 = -0.9249506636175524925650207933207191611350e-1;
constexpr double A61 = 5.861455442946420028659251486982647890394, A62 = -12.92096931784710929170611868178335939542,
                 A63 = 8.159367898576158643180400794539253485182, A64 = -0.7158497328140099722453054252582973869127e-1,
                 A65 = -0.2826905039406838290900305721271224146718e-1;
constexpr double A71 = 0.9646076681806522951816731316512876333712e-1, A72 = 0.01,
                 A73 = 0.4798896504144995747752495322905965199130, A74 = 1.379008574103741893192274821856872770756,
                 A75 = -3.290069515436080679901047585711363850116, A76 = 2.324710524099773982415355918398765796109;
constexpr double E1 = A71 - 0.9468075576583945807478876255758922856118e-1,
                 E2 = A72 - 0.9183565540343253096776363936645313759814e-2,
                 E3 = A73 - 0.4877705284247615707855642599631228241517,
                 E4 = A74 - 1.234297566930478985655109673884237654036,
                 E5 = A75 + 2.707712349983525454881109975059321670690,
                 E6 = A76 - 1.866628418170587035753719399566211498666,
                 E7 = -1.0 / 66;

struct Settings {
    double t1, rtol, atol, grad_tol, cap;  // cap: c in h <= c / rho; 0 means no cap
    double shrink;                         // smallest factor after an accepted step: diffrax has 1
    long max_steps;
};

enum : int8_t { STATIONARY = 0, HORIZON = 1, NONFINITE = 2, STEP_LIMIT = 3 };

struct Results {
    double *ends, *times, *grad_norms;
    int32_t *steps;
    int8_t *statuses;
};

// x^(-1/10) to about 1e-4, for x a mean squared error; a NaN counts as very large.
static INLINE V tenth_root_inverse(V x) {
    V exponent = _mm512_getexp_pd(x), m = _mm512_getmant_pd(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
    V m2 = _mm512_mul_pd(m, m);
    V low = fma(m, set(4.02921139), set(-2.49835315)), high = fma(m, set(0.62603218), set(-2.07833517));
    V log2 = fma(m2, fma(m2, set(-0.07844068), high), _mm512_add_pd(exponent, low));
    V z = _mm512_mul_pd(set(-0.1), _mm512_max_pd(_mm512_min_pd(log2, set(60)), set(-60)));
    V n = _mm512_roundscale_pd(z, 0), f = _mm512_sub_pd(z, n);
    V q = fma(_mm512_mul_pd(f, f), fma(f, set(0.05583828), set(0.24263948)), fma(f, set(0.69313673), set(0.99992456)));
    return _mm512_scalef_pd(q, n);
}

// What is left of the control of one block's lanes after the sums over components are known.
struct Control {
    V h, t, cap, steps;  // cap: c / rho of the last step whose stages told it
    __m256i id;
    Mask active;
};

struct Verdict {
    Mask accept, quiet, done;
    V next_h, t, steps, cap, g2;
};

// e2: sum of squared unscaled error ratios; g2, dk2, du2, u2: squared norms of k7, k7 - k6, u7 - u6 and u7.
template <int D>
static INLINE Verdict judge(const Settings &s, const Control &c, V h, V e2, V g2, V dk2, V du2, V u2) {
    Verdict v;
    V ratio = _mm512_mul_pd(h, set(1 / s.rtol));
    V mean = _mm512_mul_pd(_mm512_mul_pd(e2, _mm512_mul_pd(ratio, ratio)), set(1.0 / D));
    v.accept = _mm512_cmp_pd_mask(mean, set(1), _CMP_LT_OQ);
    V factor = _mm512_mul_pd(set(0.9), tenth_root_inverse(mean));
    V largest = blend(v.accept, set(0.9), set(10)), smallest = blend(v.accept, set(0.2), set(s.shrink));
    factor = _mm512_max_pd(_mm512_min_pd(factor, largest), smallest);
    Mask tells = _mm512_mask_cmp_pd_mask(v.accept, du2, _mm512_mul_pd(u2, set(1e-28)), _CMP_GT_OQ);
    V quotient = _mm512_mul_pd(du2, _mm512_rcp14_pd(dk2));
    V radius = _mm512_mul_pd(quotient, _mm512_rsqrt14_pd(quotient));
    v.cap = _mm512_mask_mul_pd(c.cap, tells, set(s.cap), radius);
    v.next_h = _mm512_mul_pd(h, factor);
    V left = _mm512_sub_pd(set(s.t1), c.t);
    Mask last = _mm512_cmp_pd_mask(h, left, _CMP_GE_OQ) & v.accept;
    v.t = _mm512_mask_add_pd(c.t, v.accept, c.t, h);
    v.steps = _mm512_add_pd(c.steps, set(1));
    v.quiet = _mm512_mask_cmp_pd_mask(v.accept, g2, set(s.grad_tol * s.grad_tol), _CMP_LT_OQ);
    Mask spent = _mm512_cmp_pd_mask(v.steps, set(double(s.max_steps)), _CMP_GE_OQ);
    Mask stuck = _mm512_cmp_pd_mask(v.next_h, _mm512_mul_pd(set(1e-16), v.t), _CMP_NGT_UQ);
    v.done = (v.quiet | last | spent | stuck) & c.active;
    return v;
}

// Starts waiting for a lane, with their first slopes and first steps (Hairer's rule, as diffrax), made 8 at a time.
template <class P>
struct Queue {
    static constexpr int D = P::D, SIZE = P::QUEUE;
    alignas(64) double y[D][SIZE + 8], k[D][SIZE + 8], h[SIZE + 8], cap[SIZE + 8];
    const P &problem;
    const Settings &s;
    const double *starts;
    long next = 0, total, taken = 0;
    int begin = 0, end = 0;

    Queue(const P &p, const Settings &settings, const double *from, long n)
        : problem(p), s(settings), starts(from), total(n) {}

    // At least 8 waiting starts, or all there are.
    void fill() {
        if (end - begin >= LANES || next == total) return;
        int left = end - begin;
        for (int d = 0; d < D; d++) {
            std::memmove(y[d], y[d] + begin, sizeof(double) * left);
            std::memmove(k[d], k[d] + begin, sizeof(double) * left);
        }
        std::memmove(h, h + begin, sizeof(double) * left);
        std::memmove(cap, cap + begin, sizeof(double) * left);
        begin = 0, end = left;
        while (end + LANES <= SIZE && next < total) prepare();
    }

    void prepare() {
        int count = int(total - next < LANES ? total - next : LANES);
        V u[D], f0[D], f1[D], w[D];
        alignas(64) double column[LANES];
        for (int d = 0; d < D; d++) {
            for (int l = 0; l < LANES; l++) column[l] = starts[(next + (l < count ? l : 0)) * D + d];
            u[d] = _mm512_load_pd(column);
        }
        problem.field(u, f0);
        V d0 = set(0), d1 = set(0), d2 = set(0), norm = set(0), change = set(0);
        for (int d = 0; d < D; d++) {
            V weight = _mm512_div_pd(set(1), fma(set(s.rtol), _mm512_abs_pd(u[d]), set(s.atol)));
            V a = _mm512_mul_pd(u[d], weight), b = _mm512_mul_pd(f0[d], weight);
            d0 = fma(a, a, d0), d1 = fma(b, b, d1), norm = fma(f0[d], f0[d], norm);
        }
        d0 = _mm512_sqrt_pd(_mm512_mul_pd(d0, set(1.0 / D))), d1 = _mm512_sqrt_pd(_mm512_mul_pd(d1, set(1.0 / D)));
        Mask tiny = _mm512_cmp_pd_mask(d0, set(1e-5), _CMP_LT_OQ) | _mm512_cmp_pd_mask(d1, set(1e-5), _CMP_LT_OQ);
        V h0 = blend(tiny, _mm512_mul_pd(set(0.01), _mm512_div_pd(d0, d1)), set(1e-6));
        for (int d = 0; d < D; d++) w[d] = fma(h0, f0[d], u[d]);
        problem.field(w, f1);
        for (int d = 0; d < D; d++) {
            V weight = _mm512_div_pd(set(1), fma(set(s.rtol), _mm512_abs_pd(u[d]), set(s.atol)));
            V difference = _mm512_sub_pd(f1[d], f0[d]), a = _mm512_mul_pd(difference, weight);
            d2 = fma(a, a, d2), change = fma(difference, difference, change);
        }
        d2 = _mm512_div_pd(_mm512_sqrt_pd(_mm512_mul_pd(d2, set(1.0 / D))), h0);
        V steepest = _mm512_mul_pd(set(100), _mm512_max_pd(d1, d2));
        V root = tenth_root_inverse(_mm512_mul_pd(steepest, steepest));
        V first = _mm512_min_pd(_mm512_mul_pd(set(100), h0), root);
        V radius = _mm512_div_pd(_mm512_sqrt_pd(_mm512_div_pd(change, norm)), h0);
        V limit = s.cap > 0 ? _mm512_min_pd(_mm512_div_pd(set(s.cap), radius), set(1e300)) : set(1e300);
        for (int d = 0; d < D; d++) _mm512_storeu_pd(y[d] + end, u[d]), _mm512_storeu_pd(k[d] + end, f0[d]);
        _mm512_storeu_pd(h + end, first), _mm512_storeu_pd(cap + end, limit);
        end += count, next += count;
    }

    // The lanes of `free` that get a start, lowest first; take() moves on by as many.
    Mask served(Mask free) {
        fill();
        while (__builtin_popcount(free) > end - begin) free ^= Mask(1u << (31 - __builtin_clz(unsigned(free))));
        return free;
    }
    __m256i take(Mask m) {
        __m256i number = _mm256_add_epi32(_mm256_set1_epi32(int(taken)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        int n = __builtin_popcount(m);
        begin += n, taken += n;
        return _mm256_maskz_expand_epi32(m, number);
    }
};

// The control of lanes that begin anew: those in `m` with a start from the queue, the rest of `free` at rest.
template <class P>
static INLINE void reset(Queue<P> &q, Control &c, Mask free, Mask m) {
    c.h = _mm512_mask_expandloadu_pd(blend(free, c.h, set(0)), m, q.h + q.begin);
    c.cap = _mm512_mask_expandloadu_pd(c.cap, m, q.cap + q.begin);
    c.t = blend(free, c.t, set(0)), c.steps = blend(free, c.steps, set(0));
    c.active = Mask((c.active & ~free) | m);
    c.id = _mm256_mask_mov_epi32(c.id, m, q.take(m));
}

template <class P>
static void write_out(const Results &out, const Settings &s, Mask m, Mask quiet, const V *y, const Control &c, V g2) {
    alignas(64) double t[LANES], g[LANES], n[LANES];
    alignas(32) int id[LANES];
    _mm512_store_pd(t, c.t), _mm512_store_pd(n, c.steps), _mm512_store_pd(g, _mm512_sqrt_pd(g2));
    _mm256_store_si256(reinterpret_cast<__m256i *>(id), c.id);
    for (unsigned rest = m; rest; rest &= rest - 1) {
        int l = __builtin_ctz(rest);
        long i = id[l];
        for (int d = 0; d < P::D; d++) out.ends[i * P::D + d] = reinterpret_cast<const double *>(y + d)[l];
        out.times[i] = t[l], out.grad_norms[i] = g[l], out.steps[i] = int32_t(n[l]);
        out.statuses[i] = quiet >> l & 1      ? STATIONARY
                          : !(g[l] < HUGE_VAL) ? NONFINITE
                          : t[l] >= s.t1       ? HORIZON
                          : n[l] >= double(s.max_steps) ? STEP_LIMIT
                                                        : NONFINITE;
    }
}

// ---- few components: a step in registers, several blocks in flight --------------------------------------------------

template <class P>
struct SmallBlock {
    V y[P::D], k[P::D];
    Control c;
};

template <class P>
static INLINE Verdict small_step(const P &problem, const Settings &s, SmallBlock<P> &b) {
    constexpr int D = P::D;
    V h = _mm512_min_pd(_mm512_min_pd(b.c.h, b.c.cap), _mm512_sub_pd(set(s.t1), b.c.t));
    V y[D], k1[D], k2[D], k3[D], k4[D], k5[D], k6[D], k7[D], u[D], u6[D];
    auto w = [&](double a) { return _mm512_mul_pd(h, set(a)); };
    for (int d = 0; d < D; d++) y[d] = b.y[d], k1[d] = b.k[d];
    for (int d = 0; d < D; d++) u[d] = fma(w(A21), k1[d], y[d]);
    problem.field(u, k2);
    for (int d = 0; d < D; d++) u[d] = fma(w(A32), k2[d], fma(w(A31), k1[d], y[d]));
    problem.field(u, k3);
    for (int d = 0; d < D; d++) u[d] = fma(w(A43), k3[d], fma(w(A42), k2[d], fma(w(A41), k1[d], y[d])));
    problem.field(u, k4);
    for (int d = 0; d < D; d++)
        u[d] = fma(w(A54), k4[d], fma(w(A53), k3[d], fma(w(A52), k2[d], fma(w(A51), k1[d], y[d]))));
    problem.field(u, k5);
    for (int d = 0; d < D; d++)
        u6[d] = fma(w(A65), k5[d],
                    fma(w(A64), k4[d], fma(w(A63), k3[d], fma(w(A62), k2[d], fma(w(A61), k1[d], y[d])))));
    problem.field(u6, k6);
    for (int d = 0; d < D; d++)
        u[d] = fma(w(A76), k6[d],
                   fma(w(A75), k5[d],
                       fma(w(A74), k4[d], fma(w(A73), k3[d], fma(w(A72), k2[d], fma(w(A71), k1[d], y[d]))))));
    problem.field(u, k7);
    V e2 = set(0), g2 = set(0), dk2 = set(0), du2 = set(0), u2 = set(0);
    for (int d = 0; d < D; d++) {
        V e = fma(set(E7), k7[d],
                  fma(set(E6), k6[d],
                      fma(set(E5), k5[d],
                          fma(set(E4), k4[d],
                              fma(set(E3), k3[d], fma(set(E2), k2[d], _mm512_mul_pd(set(E1), k1[d])))))));
        V size = _mm512_add_pd(_mm512_max_pd(_mm512_abs_pd(y[d]), _mm512_abs_pd(u[d])), set(s.atol / s.rtol));
        V r = _mm512_mul_pd(e, _mm512_rcp14_pd(size));
        V dk = _mm512_sub_pd(k7[d], k6[d]), du = _mm512_sub_pd(u[d], u6[d]);
        e2 = fma(r, r, e2), g2 = fma(k7[d], k7[d], g2), dk2 = fma(dk, dk, dk2), du2 = fma(du, du, du2),
        u2 = fma(u[d], u[d], u2);
    }
    Verdict v = judge<D>(s, b.c, h, e2, g2, dk2, du2, u2);
    for (int d = 0; d < D; d++) b.y[d] = blend(v.accept, y[d], u[d]), b.k[d] = blend(v.accept, k1[d], k7[d]);
    b.c.h = v.next_h, b.c.t = v.t, b.c.steps = v.steps, b.c.cap = s.cap > 0 ? v.cap : b.c.cap;
    v.g2 = g2;
    return v;
}

template <class P>
static void refill(Queue<P> &q, SmallBlock<P> &b, Mask free) {
    Mask m = q.served(free);
    for (int d = 0; d < P::D; d++) {
        b.y[d] = _mm512_mask_expandloadu_pd(b.y[d], m, q.y[d] + q.begin);
        b.k[d] = _mm512_mask_expandloadu_pd(b.k[d], m, q.k[d] + q.begin);
    }
    reset(q, b.c, free, m);
}

template <class P, int BLOCKS>
static void run_small(const P &problem, const Settings &s, const double *starts, long n, const Results &out) {
    Queue<P> queue(problem, s, starts, n);
    SmallBlock<P> blocks[BLOCKS];
    for (auto &b : blocks) {
        std::memset(static_cast<void *>(&b), 0, sizeof b);
        refill(queue, b, Mask(0xff));
    }
    bool busy = true;
    while (busy) {
        busy = false;
        for (auto &b : blocks) {
            Verdict v = small_step(problem, s, b);
            if (__builtin_expect(v.done, 0)) {
                write_out<P>(out, s, v.done, v.quiet, b.y, b.c, v.g2);
                refill(queue, b, v.done);
            }
            busy |= b.c.active != 0;
        }
    }
}

// ---- many components: the arrays of one block in the cache ----------------------------------------------------------

struct Sums {
    V e2, g2, dk2, du2, u2;
};

// One step of length h from y with slope k1; fills u (the new state) and k7, and destroys the other arrays. A stage's
// linear combination is taken where the field first reads the component, so that its loads hide under the products.
template <class P>
static INLINE Sums large_step(const P &problem, const Settings &s, V h, const V *__restrict y, const V *__restrict k1,
                              V *__restrict u, V *__restrict k7, V *__restrict u6, V *__restrict k2, V *__restrict k3,
                              V *__restrict k4, V *__restrict k5, V *__restrict k6) {
    constexpr int D = P::D;
    auto w = [&](double a) { return _mm512_mul_pd(h, set(a)); };
    auto keep = [](V *__restrict k) { return [k](int d, V f) { k[d] = f; }; };
    V a1 = w(A21), a2, a3, a4, a5, a6;
    problem.field([&](int d) { return u[d] = fma(a1, k1[d], y[d]); }, u, keep(k2));
    a1 = w(A31), a2 = w(A32);
    problem.field([&](int d) { return u[d] = fma(a2, k2[d], fma(a1, k1[d], y[d])); }, u, keep(k3));
    a1 = w(A41), a2 = w(A42), a3 = w(A43);
    problem.field([&](int d) { return u[d] = fma(a3, k3[d], fma(a2, k2[d], fma(a1, k1[d], y[d]))); }, u, keep(k4));
    a1 = w(A51), a2 = w(A52), a3 = w(A53), a4 = w(A54);
    problem.field(
        [&](int d) { return u[d] = fma(a4, k4[d], fma(a3, k3[d], fma(a2, k2[d], fma(a1, k1[d], y[d])))); }, u,
        keep(k5));
    a1 = w(A61), a2 = w(A62), a3 = w(A63), a4 = w(A64), a5 = w(A65);
    problem.field(
        [&](int d) {
            return u6[d] = fma(a5, k5[d], fma(a4, k4[d], fma(a3, k3[d], fma(a2, k2[d], fma(a1, k1[d], y[d])))));
        },
        u6, keep(k6));
    Sums q{set(0), set(0), set(0), set(0), set(0)};
    a1 = w(A71), a2 = w(A72), a3 = w(A73), a4 = w(A74), a5 = w(A75), a6 = w(A76);
#pragma GCC unroll 4
    for (int d = 0; d < D; d++) {
        V v = fma(a3, k3[d], fma(a2, k2[d], fma(a1, k1[d], y[d])));
        v = fma(a6, k6[d], fma(a5, k5[d], fma(a4, k4[d], v)));
        V e = fma(set(E3), k3[d], fma(set(E2), k2[d], _mm512_mul_pd(set(E1), k1[d])));
        e = fma(set(E6), k6[d], fma(set(E5), k5[d], fma(set(E4), k4[d], e)));
        V du = _mm512_sub_pd(v, u6[d]);
        q.du2 = fma(du, du, q.du2), q.u2 = fma(v, v, q.u2);
        u[d] = v, u6[d] = e;
        // Larger of |y| and |v|, of the sizes that the error is measured against.
        k2[d] = _mm512_rcp14_pd(_mm512_add_pd(_mm512_range_pd(y[d], v, 0x0b), set(s.atol / s.rtol)));
    }
    problem.field([&](int d) { return u[d]; }, u,
                  [&](int d, V f) {
                      V r = _mm512_mul_pd(fma(set(E7), f, u6[d]), k2[d]), dk = _mm512_sub_pd(f, k6[d]);
                      q.e2 = fma(r, r, q.e2), q.g2 = fma(f, f, q.g2), q.dk2 = fma(dk, dk, q.dk2);
                      k7[d] = f;
                  });
    return q;
}

template <class P>
struct LargeBlock {
    V storage[4][P::D];
    V *y = storage[0], *u = storage[1], *k1 = storage[2], *k7 = storage[3];
    Control c{set(0), set(0), set(0), set(0), _mm256_setzero_si256(), 0};
};

template <class P>
static void refill(Queue<P> &q, LargeBlock<P> &b, Mask free) {
    Mask m = q.served(free);
    for (int d = 0; d < P::D; d++) {
        b.y[d] = _mm512_mask_expandloadu_pd(b.y[d], m, q.y[d] + q.begin);
        b.k1[d] = _mm512_mask_expandloadu_pd(b.k1[d], m, q.k[d] + q.begin);
    }
    reset(q, b.c, free, m);
}

// The blocks share the scratch arrays: while one block waits for its next step size, the next one's products begin.
template <class P, int BLOCKS>
static void run_large(const P &problem, const Settings &s, const double *starts, long n, const Results &out) {
    constexpr int D = P::D;
    struct Memory {
        V scratch[6][D];
        LargeBlock<P> blocks[BLOCKS];
        Queue<P> queue;
    };
    std::unique_ptr<Memory> memory(new Memory{{}, {}, Queue<P>(problem, s, starts, n)});
    V(*x)[D] = memory->scratch;
    for (auto &b : memory->blocks) {
        std::memset(static_cast<void *>(b.storage), 0, sizeof b.storage);
        refill(memory->queue, b, Mask(0xff));
    }
    bool busy = true;
    while (busy) {
        busy = false;
        for (auto &b : memory->blocks) {
            V h = _mm512_min_pd(_mm512_min_pd(b.c.h, b.c.cap), _mm512_sub_pd(set(s.t1), b.c.t));
            Sums q = large_step(problem, s, h, b.y, b.k1, b.u, b.k7, x[0], x[1], x[2], x[3], x[4], x[5]);
            Verdict v = judge<D>(s, b.c, h, q.e2, q.g2, q.dk2, q.du2, q.u2);
            b.c.h = v.next_h, b.c.t = v.t, b.c.steps = v.steps, b.c.cap = s.cap > 0 ? v.cap : b.c.cap;
            if (Mask rejected = ~v.accept) {
                for (int d = 0; d < D; d++) {
                    _mm512_mask_store_pd(b.u + d, rejected, b.y[d]), _mm512_mask_store_pd(b.k7 + d, rejected, b.k1[d]);
                }
            }
            std::swap(b.y, b.u), std::swap(b.k1, b.k7);
            if (v.done) {
                write_out<P>(out, s, v.done, v.quiet, b.y, b.c, q.g2);
                refill(memory->queue, b, v.done);
            }
            busy |= b.c.active != 0;
        }
    }
}

// ---- problems ------------------------------------------------------------------------------------------------------

// L = (1 - x y)^2 / 2.
struct Hyperbola {
    static constexpr int D = 2, QUEUE = 256;
    INLINE void field(const V *u, V *f) const {
        V r = _mm512_fnmadd_pd(u[0], u[1], set(1));
        f[0] = _mm512_mul_pd(r, u[1]), f[1] = _mm512_mul_pd(r, u[0]);
    }
};

// L = |S - W3 W2 W1|^2 / 2, W1 (D1, D0), W2 (D2, D1), W3 (D3, D2), row by row in one vector. The products are taken
// from the narrow end, R rows of W3 at a time: 192 multiply-adds for widths 4-4-4-2 where backpropagation takes 288.
template <int D0, int D1, int D2, int D3, int R>
struct DeepLinear {
    static constexpr int D1_END = D1 * D0, D2_END = D1_END + D2 * D1, D = D2_END + D3 * D2, QUEUE = 16;
    const double *target;  // (D3, D0)

    void field(const V *u, V *f) const {
        field([=](int d) { return u[d]; }, u, [=](int d, V value) { f[d] = value; });
    }

    // source(d) gives component d and leaves it in u[d]; sink(d, value) takes the field's component d.
    template <class Source, class Sink>
    INLINE void field(Source source, const V *__restrict u, Sink sink) const {
        static_assert(R == D3 || 2 * R == D3);
        V partial1[R == D3 ? 1 : D1_END], partial2[R == D3 ? 1 : D2_END - D1_END];
#pragma GCC unroll 2
        for (int i = 0; i < D3; i += R) {
            const bool first = i == 0, last = i + R == D3;
            V a[R][D1], b[R][D1];
#pragma GCC unroll 16
            for (int j = 0; j < D1; j++) {
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) a[r][j] = b[r][j] = set(0);
            }
#pragma GCC unroll 1
            for (int k = 0; k < D2; k++) {
                V w[R];
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) w[r] = source(D2_END + (i + r) * D2 + k);
#pragma GCC unroll 16
                for (int j = 0; j < D1; j++) {
                    const int d = D1_END + k * D1 + j;
                    V x = first ? source(d) : u[d];
#pragma GCC unroll 4
                    for (int r = 0; r < R; r++) a[r][j] = fma(w[r], x, a[r][j]);
                }
            }
#pragma GCC unroll 1
            for (int j = 0; j < D0; j++) {
                V e[R], x[D1];
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) e[r] = set(target[(i + r) * D0 + j]);
#pragma GCC unroll 16
                for (int k = 0; k < D1; k++) {
                    x[k] = first ? source(k * D0 + j) : u[k * D0 + j];
#pragma GCC unroll 4
                    for (int r = 0; r < R; r++) e[r] = _mm512_fnmadd_pd(a[r][k], x[k], e[r]);
                }
#pragma GCC unroll 16
                for (int k = 0; k < D1; k++) {
                    V g = first ? _mm512_mul_pd(a[0][k], e[0]) : fma(a[0][k], e[0], partial1[k * D0 + j]);
#pragma GCC unroll 4
                    for (int r = 1; r < R; r++) g = fma(a[r][k], e[r], g);
                    if (last) sink(k * D0 + j, g);
                    else partial1[k * D0 + j] = g;
#pragma GCC unroll 4
                    for (int r = 0; r < R; r++) b[r][k] = fma(e[r], x[k], b[r][k]);
                }
            }
#pragma GCC unroll 1
            for (int k = 0; k < D2; k++) {
                V g[R], w[R];
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) g[r] = set(0), w[r] = u[D2_END + (i + r) * D2 + k];
#pragma GCC unroll 16
                for (int j = 0; j < D1; j++) {
                    const int d = k * D1 + j;
                    V x = u[D1_END + d], q = first ? _mm512_mul_pd(w[0], b[0][j]) : fma(w[0], b[0][j], partial2[d]);
#pragma GCC unroll 4
                    for (int r = 1; r < R; r++) q = fma(w[r], b[r][j], q);
                    if (last) sink(D1_END + d, q);
                    else partial2[d] = q;
#pragma GCC unroll 4
                    for (int r = 0; r < R; r++) g[r] = fma(b[r][j], x, g[r]);
                }
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) sink(D2_END + (i + r) * D2 + k, g[r]);
            }
        }
    }
};

// Returns 0, or 1 for an unknown problem. Arrays are rows of doubles, one row a start.
extern "C" int integrate(char problem, const double *target, const double *starts, long n, const double *settings,
                         long max_steps, double *ends, double *times, double *grad_norms, int32_t *steps,
                         int8_t *statuses) {
    Settings s{settings[0], settings[1], settings[2], settings[3], settings[4], settings[5], max_steps};
    Results out{ends, times, grad_norms, steps, statuses};
    if (problem == 'A') {
        run_large<DeepLinear<4, 4, 4, 2, 2>, 1>({target}, s, starts, n, out);
    } else if (problem == 'B') {
        run_small<Hyperbola, 4>(Hyperbola{}, s, starts, n, out);
    } else if (problem == 'C') {
        run_large<DeepLinear<8, 8, 8, 4, 2>, 1>({target}, s, starts, n, out);
    } else {
        return 1;
    }
    return 0;
}
