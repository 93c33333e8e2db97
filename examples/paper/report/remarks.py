"""What the figures of the page do not say by themselves."""

from examples.paper.report.recipe_table import RECIPE_TABLE

REMARKS = {
    "summary": """
ECE in per cent, before T. FLSD-53 lowers it on all data but the treebank, as in the paper, and most
where the temperature of cross-entropy is highest. Once a temperature is fitted, FLSD-53 is more
than half a point better on 20 Newsgroups alone. So:

- Fit a temperature on held-out data, whatever the loss: 20 Newsgroups apart, it lowers the ECE of
  cross-entropy by more than FLSD-53 does.
- Train with FLSD-53 where the confidences that leave the network must be right as they are, and
  training goes on until cross-entropy would be over-confident.
- Where training is short, as 21 epochs are for all of CIFAR-10, or an early epoch is kept, as on
  the treebank, FLSD-53 leaves a network under-confident, with T below 1. Cross-entropy with a
  temperature has an ECE as low there, and the lower error. After 42 epochs on all of CIFAR-10
  FLSD-53 is slightly over-confident, and cross-entropy more so than after 21.
""",
    "claims": """
Where the answers differ, the likeliest reasons:

- **All of CIFAR-10, 21 epochs**: three seeds of cross-entropy and FLSD-53, one of the others.
  21 epochs in bfloat16 stand for 350, and flips alone for crops and flips, with which the network
  does not fit its images in so few epochs. Cross-entropy fits nearly all of them and is
  over-confident (Figure 2). FLSD-53 halves the ECE and is closer to T = 1, but from the other side:
  it is under-confident, and has not learnt as much in the same epochs, hence the error, which is
  higher with every seed. T mends cross-entropy more than it mends FLSD-53. So little training needs
  less gamma: FLSc-531, which ends with gamma 1, has the lowest ECE before T of the losses that were
  measured, and takes no temperature. Beside the paper, AdaFocal and the dual focal loss halve the
  ECE too, and their errors are within half a point of that of cross-entropy.
- **All of CIFAR-10, 42 epochs**: one seed of cross-entropy and FLSD-53. With twice the training all
  answers are the paper's but that of Table 13. Cross-entropy is more over-confident than after 21
  epochs, and its NLL is higher, though its error is lower. FLSD-53 is no longer under-confident:
  its T is slightly above 1, and its NLL is lower than after 21 epochs. Its ECE is below a third of
  cross-entropy's, and its error within half a point of it. The errors of both are still above
  15 %.
- **1,000 images of CIFAR-10** (`resnet8`): without augmentation, the small network learns them by
  heart, as the paper's networks do their 45,000. There is over-confidence to take away, and the
  paper's order returns, label smoothing apart. Its level is another: so few images leave most test
  images wrong, and a gamma of 3 or 5 does not undo that.
- **20 Newsgroups**: at the paper's number of epochs its order returns, label smoothing apart, which
  is under-confident here. All networks are less over-confident than the paper's, which leaves
  FLSD-53 next to nothing to scale. Its error is above cross-entropy's by about as much as there.
  The epoch that is kept is that of the best accuracy on 900 documents. Where it is an early one,
  the network is less confident: so the two seeds of the Brier score differ widely.
- **Treebank**: of cross-entropy, label smoothing and FLSD-53, ten seeds each, label smoothing has
  the lowest ECE before T and FLSD-53 the highest, which is the paper's order. With two classes a
  sentence is hard (p below 0.2) only when it is badly wrong, and gamma 3, for all others, moves
  them towards one half: FLSD-53 is under-confident, with T below 1 with all seeds but one. One
  temperature corrects it. How far T is from 1 depends on the epoch that is kept, so the seeds
  differ widely: cross-entropy has T below 1 with one of them and above 4 with three. What label
  smoothing gains on cross-entropy is more than twice its standard error. What FLSD-53 loses is
  not, but its error is higher by more than that.

What all have in common: gamma takes away an amount of confidence, whatever there is to take. It
helps where cross-entropy overfits, and overshoots where an early epoch is kept; look at T on
held-out data.
""",
    "objectives": """
The gradient of the sum is clipped at nearly every step, so that steps stay as long as the learning
rate says when hardly anything is left to learn, and confidence goes on growing. Cross-entropy and
the focal losses are more over-confident, with higher ECE before T and higher T; label smoothing,
whose targets are not certain, is less so. Errors and ECE after T hardly move, and FLSD-53 is below
cross-entropy in both forms.
""",
    "recipes": RECIPE_TABLE,
    "translation": """
Focal loss is calibrated best, as in the paper, and needs no temperature. That it also translates
best is not seen: the BLEU of two seeds of one loss differs by as much as that of the losses. With
label smoothing and T above 1, one of the two models ends many sentences before the first word:
the end has its share of the smoothed mass, and a short sentence multiplies few probabilities.
""",
    "maps": """
Does the loss still pay when a map is fitted? Not in ECE: under any map but isotonic regression,
that of the two losses differs on average by 0.7 points at most. In NLL it pays on 1,000 images of
CIFAR-10, which cross-entropy learns by heart; on all of CIFAR-10 and on the treebank cross-entropy
with a map is better.

- **All of CIFAR-10, 21 epochs**, two seeds: before a map, FLSD-53 has about half the ECE, and the
  lower NLL. Under each map the ECE of the two losses differs on average by 0.6 points at most. The
  NLL is lower with cross-entropy under every map and with both seeds, with isotonic regression and
  one of them hardly so.
- **All of CIFAR-10, 42 epochs**, one seed: before a map, FLSD-53 has less than a third of the ECE,
  and by far the lower NLL. Under every map but a temperature its ECE is still the lower one. The
  NLL is lower with cross-entropy under every map but isotonic regression, by 1.1 points at most.
- **1,000 images of CIFAR-10**, two seeds: before a map, FLSD-53 has less than half the ECE. Under
  each map the two losses have the same ECE, to within the seeds. The NLL of FLSD-53 stays lower
  under every map and with both seeds: what a network learns from the loss, a map does not give.
- **Treebank**, ten seeds: before a map the ECE of the two losses differs by less than twice the
  standard error of the difference. Under each it is on average lower with FLSD-53, by half a point
  at most. The NLL is lower with cross-entropy, by about two standard errors under each map, and by
  more than three under a temperature.

20 Newsgroups was not measured.
""",
    "shift": """
- **All of CIFAR-10, 21 epochs**: on every damage both networks are surer than they are right.
  FLSD-53, which is under-confident of usual images, has on average the lowest ECE as it leaves
  training, lower than either loss after T. Its temperature, below 1, takes that away: after T, its
  ECE is that of cross-entropy or higher. A temperature above 1, as cross-entropy takes, makes a
  network tell damaged and foreign images better, and one below 1 worse. So cross-entropy after T
  tells them best, strong loss of contrast apart, which the entropy of FLSD-53 before T tells as
  well.
- **All of CIFAR-10, 42 epochs**: now that FLSD-53 is over-confident of usual images too, it has the
  lower ECE on every damage before T, and the higher one after T. Cross-entropy after T has the
  lowest of the four on every damage.
- **1,000 images of CIFAR-10** (`resnet8`): more than half of the test images are wrong to begin
  with, so that the confidence tells little. With both losses the networks are about as confident of
  damaged and of foreign images as of usual ones, weak contrast apart. Where they do tell,
  cross-entropy tells better than FLSD-53, before and after T. The temperature of undamaged images
  lowers the ECE of all damaged ones, but not to what it is without damage. It serves cross-entropy
  better on contrast and blur, and FLSD-53 on noise.

Focal loss is no detector of foreign images here.
""",
    "published logits": """
Table 13 does not say which "Focal Loss" it is of. Among as many of the surest predictions of
FLSD-53 as it counts, fewer are wrong than it says: no threshold gives its figures, so they are
likely to be of another focal model.
""",
    "linear model": """
What holds: both norms of cross-entropy are larger, the decisions are the same, and it is surer
where it is wrong. What does not: that cross-entropy errs "almost always" with more than 90 %
confidence, and that its norms blow up. With a tenth of the labels flipped its optimum is finite,
and gradient descent has arrived there by the end.
""",
    "not measured": """
Not measured: the paper's own networks at their full length, which need a GPU; WMT14; CIFAR-100
and Tiny-ImageNet, so Table 8 and the rows of these data sets stand empty; GloVe vectors, which
the texts of the paper start from. All but vectors for the Tree-LSTM are arguments of the same
commands.
""",
}
"""By the place on the page."""
