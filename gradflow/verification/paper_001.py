"""Statements of paper 001, the global optimization geometry of shallow linear networks.

Full row rank of X is assumed nowhere but where it is needed (the unweighted regulariser); equal singular values and
hidden layers narrower and wider than the rank are drawn throughout. Theorem 1 has no row: it is about algorithms and
states no number. Table 1 and section 5 repeat the others.
"""

from gradflow.verification import paper_001_curvature as curvature
from gradflow.verification import paper_001_sets as sets
from gradflow.verification.statement import Statement

FAMILY = "gradflow.critical_sets.balanced"
CERTIFICATES = "gradflow.certificates.curvature_at_saddles"
BALANCE = "gradflow.regularizers.Balance"

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "001",
        "Definition 2",
        "A local maximum is a strict saddle exactly when its Hessian is not zero.",
        ("gradflow.critical_sets.classes.CriticalClass",),
        sets.local_maxima,
        correction='"Any local maxima are, by definition, strict saddles" is false: -x^4 has a zero Hessian at 0.',
        as_printed=sets.local_maximum_as_printed,
        thorough=1000,
    ),
    Statement(
        "001",
        "Section 3.1",
        "If (W_1, W_2) is a critical point of f, so is (A^{-1} W_1, W_2 A) for every invertible A.",
        (f"{FAMILY}.imbalance",),
        sets.gauge,
        correction="The next sentence writes A W_2 for W_2 A.",
        quick=100,
        thorough=2000,
    ),
    Statement(
        "001",
        "eqs. (19)-(20)",
        "With E = W_2^T W_2 - W_1 X X^T W_1^T the gradient of mu/4 rho is (-mu E W_1 X X^T, mu W_2 E); without X the "
        "same.",
        (f"{BALANCE}.gradient", f"{FAMILY}.recognition.regularised_gradient"),
        sets.gradients,
        correction="The two gradients displayed after Lemma 1 are wrong: mu/4-scaled, with spurious factors W_2 and "
        "W_1 X X^T, and W_2 X X^T W_1^T for W_1 X X^T W_1^T; the shapes do not match. (19)-(21) are right.",
        as_printed=sets.gradient_as_printed,
        quick=2,
        thorough=100,
    ),
    Statement(
        "001",
        "eq. (9)",
        "Critical points of g and of h are balanced; at any state mu ||E||^2 <= ||grad|| ||W||, and grad f is "
        "orthogonal to "
        "the gradient of the regulariser (weighted: in the coordinates W_1 R, R the root of the data).",
        (f"{FAMILY}.imbalance",),
        sets.balance,
        quick=50,
        thorough=600,
    ),
    Statement(
        "001",
        "Lemma 1",
        "The critical points of g are exactly W_2 = Wt_2 O^T, W_1 = O Wt_1 S^{-1} U^T plus any part on inputs that no "
        "sample "
        "has, the columns of Wt being sqrt(lambda) (P_b c; Q_b c) or zero; X of any rank; for h likewise, X of full "
        "rank.",
        (f"{FAMILY}.construct", f"{FAMILY}.decompose", f"{FAMILY}.sample"),
        sets.critical_set,
        correction='Read "for some SVD of Ytilde": with equal singular values and a fixed SVD the "only if" is false '
        "(X = Y = I, W_2 = W_1^T = (0.6, 0.8)). (10) and (13) use R^T and R for one and the same set.",
        as_printed=sets.critical_set_as_printed,
        quick=6,
        thorough=60,
    ),
    Statement(
        "001",
        "Theorem 2 (i)",
        "g and f have the same global minimum, 1/2 (||Y||^2 - ||Y V||^2) + 1/2 sum_{i > d_1} lambda_i^2, attained at "
        "balanced "
        "points padded with zeros to d_1 hidden units; X of any rank.",
        (f"{FAMILY}.global_value", f"{FAMILY}.enumerate_classes"),
        sets.same_minimum,
        correction="C = ||Y||^2 - ||Y V||^2 lacks the factor 1/2 (twice); the constructed point has r columns, not "
        "d_1.",
        as_printed=sets.minimum_as_printed,
        quick=50,
        thorough=600,
    ),
    Statement(
        "001",
        "Theorem 2 (ii)",
        "Every critical point of g, and of h, is a critical point of f; X of any rank for g.",
        (f"{FAMILY}.sample",),
        sets.critical_for_both,
        quick=100,
        thorough=1000,
    ),
    Statement(
        "001",
        "Theorem 2 (iii)",
        "Every critical point of g is a global minimum, with positive semidefinite Hessian, or a strict saddle; the "
        "numbers of "
        "negative and of zero eigenvalues are those of its class, whatever mu, X of any rank; so for h, X of full "
        "rank.",
        (f"{FAMILY}.describe",),
        sets.landscape,
        quick=50,
        thorough=600,
    ),
    Statement(
        "001",
        "Theorem 3",
        "Every critical point of f, balanced or not, is a global minimum or a strict saddle; X of any rank.",
        (f"{CERTIFICATES}.saddle_curvature_certificate",),
        sets.plain_landscape,
        quick=40,
        thorough=500,
    ),
    Statement(
        "001",
        "Theorem 4",
        "The same with X, Y of full rank, d_2 <= d_0 and distinct eigenvalues: the special case of Theorem 3.",
        (f"{CERTIFICATES}.saddle_curvature_certificate",),
        sets.plain_landscape_distinct,
        quick=30,
        thorough=300,
    ),
    Statement(
        "001",
        "Theorem 5",
        "The same at degenerate critical points, rank(W_2 W_1) < min(d_2, d_1, d_0).",
        (f"{CERTIFICATES}.saddle_curvature_certificate",),
        sets.plain_landscape_degenerate,
        quick=30,
        thorough=300,
    ),
    Statement(
        "001",
        "Lemma 2",
        "At every saddle of g lambda_min is at most the smallest generalised eigenvalue of [[l_j, -l_k], [-l_k, l_j]] "
        "with "
        "respect to diag(||S^{-1} q_k||^2, 1), k the best missed and j the weakest captured (l_j = 0 with an idle "
        "unit); the "
        "worst of these bounds, from the data alone, is never weaker than (14) and (15).",
        (f"{CERTIFICATES}.saddle_curvature_certificate", f"{FAMILY}.pair_direction", f"{FAMILY}.saddle_bound"),
        curvature.sharper,
        quick=20,
        thorough=250,
    ),
    Statement(
        "001",
        "eq. (14)",
        "For r <= d_1, lambda_min <= -2 lambda_r / (1 + sum_i sigma_i^{-2}) at every saddle of g.",
        (f"{CERTIFICATES}.lemma_bound", f"{FAMILY}.lemma_direction"),
        curvature.bound_wide,
        correction="W stands for Z; sum_{i != Lambda} for i not in Gamma, with q_i^T and the other sign; X_1 for X. "
        "With "
        "r = 0 there are no saddles.",
        quick=30,
        thorough=300,
    ),
    Statement(
        "001",
        "eq. (15)",
        "For r > d_1, lambda_min <= -2 (lambda_{d_1} - lambda_{r'}) / (1 + sum_i sigma_i^{-2}) at every saddle of g.",
        (f"{CERTIFICATES}.lemma_bound", f"{FAMILY}.lemma_direction"),
        curvature.bound_narrow,
        correction="Where no singular value is strictly smaller than lambda_{d_1}, lambda_{r'} is undefined: read 0.",
        quick=30,
        thorough=300,
    ),
    Statement(
        "001",
        "eq. (37)",
        "||Wt_2 a||^2 <= lambda_{d_1 + 1} at a saddle with r > d_1, with equality exactly when d_1 + 1 is captured.",
        (f"{FAMILY}.lemma_direction",),
        curvature.weakest,
        correction="The text has equality when d_1 + 1 is in Omega, i.e. missed.",
        as_printed=curvature.weakest_as_printed,
        quick=40,
        thorough=400,
    ),
    Statement(
        "001",
        "eq. (32)",
        "The first form is the second derivative of g (and of h) at every state, the second at critical points.",
        (f"{FAMILY}.quadratic_form", f"{FAMILY}.hessian"),
        curvature.form,
        correction="X_1 for X. Of the three terms in Appendix B the third is zero, where the text prints the first "
        "again.",
        quick=60,
        thorough=600,
    ),
    Statement(
        "001",
        "eqs. (16)-(18)",
        "The surrogate is balanced and has the same map; its gradient is the state's pulled back, and the second "
        "derivative of "
        "f on lifted directions is that of its loss; any state with W_2 W_1 X != 0, X of any rank.",
        (f"{FAMILY}.surrogate",),
        curvature.surrogates,
        correction="grad_{W_1} of the surrogate's loss is Theta^{-1/2} Psi^T Sigma U^T W_1^T grad_{W_1} f (printed "
        "with "
        "Sigma^{-1}); W_2 Delta_1 = Wbar_2 Deltabar_1 (printed Wbar_2 Wbar_1). Non-degeneracy is not needed.",
        as_printed=curvature.surrogate_as_printed,
        quick=50,
        thorough=600,
    ),
    Statement(
        "001",
        "eq. (4)",
        "The condition says only alpha <= lambda_min(X X^T) and lambda_max(X X^T) <= beta: rank-one matrices attain "
        "both.",
        (f"{CERTIFICATES}.saddle_curvature_certificate",),
        curvature.isometry,
        correction='Nothing is "restricted" to rank 4 d_1: rank one suffices.',
        quick=200,
        thorough=3000,
    ),
    Statement(
        "001",
        "Corollary 1",
        "At every saddle of h with rank(W*) <= d_1: lambda_min <= -alpha sigma_{r_c + 1}(W*) <= -alpha "
        "sigma_{r*}(W*), for "
        "every mu > 0 and every condition number of X; (7) holds under its own hypotheses.",
        (f"{CERTIFICATES}.corollary_bound", f"{FAMILY}.kernel_direction"),
        curvature.corollary,
        correction="sigma_{r_c}^2(W_2 W_1) in (7) has the wrong degree of homogeneity (the bound is true, and weak); "
        "r_c is the "
        "rank of W_2 W_1, printed W_1 W_2.",
        quick=25,
        thorough=300,
    ),
    Statement(
        "001",
        "Section 3.3",
        "Deep networks with the sum of the balancing terms: at any state mu sum_j ||E_j||^2 <= ||grad|| ||W||, and "
        "the gradient "
        "of f is orthogonal to that of the term. So all critical points are balanced, and critical points of f.",
        (f"{FAMILY}.imbalance", BALANCE),
        sets.deep,
        quick=60,
        thorough=1000,
    ),
)
