"""Pictures of problems, runs and endpoints: functions that take axes and results, and return artists.

The only room of the library that imports matplotlib. A plot chooses no data, integrates nothing, opens no window and
leaves matplotlib's global state as it was; every function works on any axes, and :func:`style` sets sizes and fonts.

    with gradflow.plotting.style():
        figure, ax = plt.subplots()
        gradflow.plotting.loss_ladder(ax, record)
"""

from gradflow.plotting.axes import Drawn as Drawn
from gradflow.plotting.basins import BasinMap as BasinMap
from gradflow.plotting.basins import basin_map as basin_map
from gradflow.plotting.classes import class_styles as class_styles
from gradflow.plotting.descent import descent_distance as descent_distance
from gradflow.plotting.descent import descent_drift as descent_drift
from gradflow.plotting.descent import descent_orders as descent_orders
from gradflow.plotting.pages import overview as overview
from gradflow.plotting.pages import portrait_page as portrait_page
from gradflow.plotting.pages import save_figure as save_figure
from gradflow.plotting.planes import PlanePortrait as PlanePortrait
from gradflow.plotting.planes import cone_lines as cone_lines
from gradflow.plotting.planes import plane_portrait as plane_portrait
from gradflow.plotting.portraits import KIND_MARKERS as KIND_MARKERS
from gradflow.plotting.portraits import Portrait as Portrait
from gradflow.plotting.portraits import loss_colorbar as loss_colorbar
from gradflow.plotting.portraits import phase_portrait as phase_portrait
from gradflow.plotting.portraits import positions as positions
from gradflow.plotting.promises import convergence as convergence
from gradflow.plotting.promises import drift as drift
from gradflow.plotting.promises import energy as energy
from gradflow.plotting.promises import norm_bound as norm_bound
from gradflow.plotting.records import loss_ladder as loss_ladder
from gradflow.plotting.records import singular_values as singular_values
from gradflow.plotting.spectra import hessian_spectrum as hessian_spectrum
from gradflow.plotting.styles import COLUMN_WIDTH as COLUMN_WIDTH
from gradflow.plotting.styles import DOUBLE_WIDTH as DOUBLE_WIDTH
from gradflow.plotting.styles import OKABE_ITO as OKABE_ITO
from gradflow.plotting.styles import figure_size as figure_size
from gradflow.plotting.styles import style as style
from gradflow.plotting.tallies import basin_fractions as basin_fractions
from gradflow.plotting.tallies import convergence_times as convergence_times
from gradflow.plotting.tallies import time_quantiles as time_quantiles
